"""The running router on the real kernel, against an API server in memory: where connections go."""

import asyncio
from contextlib import AsyncExitStack, closing

import pytest

from iam4kube.sandbox.network import METADATA_ADDRESSES, METADATA_IPV4
from tests.support.node_lab import REAL, SERVER_PORT
from tests.support.node_lab_probes import Connection, Result
from tests.support.router_lab import RouterLab, endpoints_of
from tests.support.router_process import ROUTER_PORT, SERVICE
from tests.support.waiting import eventually

pytestmark = pytest.mark.netns

AT_ONCE = 0.010  # seconds; 0.1 to 0.2 ms on an idle machine


async def test_a_pod_reaches_a_server_through_the_router(routed: RouterLab) -> None:
    """In both families, and is seen with its own address; the node itself reaches the real service."""
    await routed.serve(routed.lab.server("one"))
    async with routed.router() as router:
        await router.until_ready()
        for address in METADATA_ADDRESSES:
            pod, node = routed.lab.pod("a"), routed.lab.node
            outcome = await routed.connect(address)
            assert (outcome.result, outcome.by, outcome.source) == (Result.ANSWERED, "one", pod.own(address))
            assert (await node.connect(address, 80)).by == REAL
        assert await router.ask("/readyz") == (200, "ready\n")
        assert await router.ask("/livez") == (200, "ok\n")
        assert await router.metric("ip2service_ready") == 1
        assert await router.metric("ip2service_verification_age_seconds") < 30
        assert await router.metric("ip2service_reconciliation_failures_total") == 0


async def test_metrics_tell_where_connections_go(routed: RouterLab) -> None:
    """What one can see of routing agrees with what a pod gets, before there is a server and after."""
    await routed.create_service()
    async with routed.router() as router:
        await router.until_ready()
        for family in "IPv4", "IPv6":
            assert await router.metric(f'ip2service_gate_open{{family="{family}"}}') == 0
            assert await router.metric(f'ip2service_endpoints{{family="{family}"}}') == 0
        await routed.change(routed.lab.server("one"))
        for family in "IPv4", "IPv6":
            await router.until_logged("New connections are let in: a server is ready", family=family)
            await router.until_metric(f'ip2service_gate_open{{family="{family}"}}', 1)
            assert await router.metric(f'ip2service_endpoints{{family="{family}"}}') == 1
        assert await router.metric("ip2service_propagation_seconds_count") >= 2


async def test_r19_without_a_server_pods_are_refused_at_once(routed: RouterLab) -> None:
    """A client hears so in under 10 ms, and the router is ready: its rules are right. A server changes it at once."""
    await routed.serve()
    async with routed.router() as router:
        await router.until_ready()
        await router.until_logged("New connections are refused: no server is ready", family="IPv6")
        for address in METADATA_ADDRESSES:
            assert await routed.quickest_refusal(address) < AT_ONCE
        await routed.change(routed.lab.server("one"))
        for address in METADATA_ADDRESSES:
            await routed.until_answered(address, by="one")
    assert not await routed.lab.arrivals()


async def test_r19_a_server_that_only_terminates_serves_when_no_other_does(routed: RouterLab) -> None:
    """As kube-proxy does: better it than nobody; one that no longer serves is nobody."""
    one, two = routed.lab.server("one"), routed.lab.server("two")
    await routed.create_service()
    await routed.proxy(one)
    await routed.set_endpoints(
        *endpoints_of(one, ready=False, terminating=True),
        *endpoints_of(two, ready=False, serving=False, terminating=True),
    )
    async with routed.router() as router:
        await router.until_ready()
        await routed.until_answered(METADATA_IPV4, by="one")
        await routed.set_endpoints(*endpoints_of(one, ready=False, serving=False, terminating=True))
        await routed.until_refused(METADATA_IPV4)
    assert not await routed.lab.arrivals()


async def test_r22_what_is_deleted_does_not_go_on_serving(routed: RouterLab) -> None:
    """A slice takes its family's endpoints with it, the Service everything; and both come back."""
    ipv4, ipv6 = METADATA_ADDRESSES
    await routed.serve(routed.lab.server("one"))
    async with routed.router() as router:
        await router.until_ready()
        routed.cluster.delete_slice(SERVICE, 4)
        await routed.until_refused(ipv4)
        assert (await routed.connect(ipv6)).by == "one"
        await routed.cluster.delete_service(SERVICE)
        await router.until_logged("Service cannot be routed to", problem="service_missing")
        await routed.until_refused(ipv6)
        assert await router.metric('ip2service_endpoints{family="IPv6"}') == 0
        await routed.serve(routed.lab.server("one"))
        await routed.until_answered(ipv4, by="one")
    assert not await routed.lab.arrivals()


async def test_r22_a_service_whose_slices_stay_does_not_go_on_serving(routed: RouterLab) -> None:
    """A garbage collector deletes slices a while after the Service: they are nobody's then."""
    await routed.serve(routed.lab.server("one"))
    async with routed.router() as router:
        await router.until_ready()
        await routed.cluster.delete_service(SERVICE, with_endpoints=False)
        await routed.until_refused(METADATA_IPV4)
    assert not await routed.lab.arrivals()


async def test_r23_connections_older_than_the_router_are_reset_before_it_knows_a_server(routed: RouterLab) -> None:
    """The guard does it, also where there is no Service, and for as long as there is none."""
    async with AsyncExitStack() as stack:
        pod = routed.lab.pod("a")
        old = [stack.enter_context(closing(await pod.keep(address, 80))) for address in METADATA_ADDRESSES]
        assert [(await kept.ask()).by for kept in old] == [REAL] * 2
        await stack.enter_async_context(router := routed.router())
        await router.until_logged("Guards are in place")
        assert [(await kept.ask()).result for kept in old] == [Result.REFUSED] * 2


async def test_r23_connections_older_than_the_router_are_reset(routed: RouterLab) -> None:
    """They lead to the real service, for as long as their clients like; new ones lead to a server."""
    await routed.serve(routed.lab.server("one"))
    for address in METADATA_ADDRESSES:
        with closing(await routed.lab.pod("a").keep(address, 80)) as old:
            assert (await old.ask()).by == REAL
            async with routed.router() as router:
                await router.until_ready()
                assert (await old.ask()).result is Result.REFUSED
                assert (await routed.connect(address)).by == "one"
            await routed.load("flush ruleset")
            await routed.proxy(routed.lab.server("one"))
            await routed.remove_policy_rules()


async def test_kept_connections_live_on_when_endpoints_change(routed: RouterLab) -> None:
    """New ones go to the new server; a server that terminates finishes what it has, even when it serves no more."""
    one, two = routed.lab.server("one"), routed.lab.server("two")
    await routed.serve(one)
    async with routed.router() as router:
        await router.until_ready()
        for address in METADATA_ADDRESSES:
            with closing(await routed.lab.pod("a").keep(address, 80)) as kept:
                assert (await kept.ask()).by == "one"
                await routed.proxy(two)
                leaving = endpoints_of(one, ready=False, serving=False, terminating=True)
                await routed.set_endpoints(*leaving, *endpoints_of(two))
                await routed.until_answered(address, by="two")
                assert (await kept.ask()).by == "one"
                await routed.change(one)
                await routed.until_answered(address, by="one")
                assert (await kept.ask()).by == "one"


async def test_connections_to_an_address_that_has_left_all_slices_end(routed_to_endpoints: RouterLab) -> None:
    """In endpoints mode nobody else would tell the client. Those to a terminating server, and all others, live on."""
    routed = routed_to_endpoints
    one, two, pod = routed.lab.server("one"), routed.lab.server("two"), routed.lab.pod("a")
    await routed.serve(one)
    async with routed.router() as router, AsyncExitStack() as stack:
        await router.until_ready()
        direct = stack.enter_context(closing(await pod.keep(one.ipv4, SERVER_PORT)))
        gone = [stack.enter_context(closing(await pod.keep(address, 80))) for address in METADATA_ADDRESSES]
        assert [(await kept.ask()).by for kept in (direct, *gone)] == ["one"] * 3
        await routed.change(one, two)
        await router.until_metric('ip2service_endpoints{family="IPv6"}', 2)
        leaving = stack.enter_context(closing(await keep_at(routed, "two")))
        terminating = endpoints_of(two, ready=False, serving=False, terminating=True)
        await routed.set_endpoints(*terminating, *endpoints_of(await routed.lab.add_server("three")))
        for kept in gone:
            await until_cut(kept)
        assert await router.metric("ip2service_forgotten_connections_total") >= 2
        assert [(await kept.ask()).by for kept in (direct, leaving)] == ["one", "two"]


async def test_a_service_made_anew_is_followed_to_its_new_address(routed_to_service: RouterLab) -> None:
    """With another cluster IP; until there is one, pods are refused."""
    routed, server = routed_to_service, routed_to_service.lab.server("one")
    new = ("10.96.7.7", "fd00:10:96::77")
    await routed.serve(server)
    async with routed.router() as router:
        await router.until_ready()
        await routed.cluster.delete_service(SERVICE)
        await routed.until_refused(METADATA_IPV4)
        await routed.create_service(addresses=new)
        await routed.change(server, addresses=new)
        for address, cluster_ip in zip(METADATA_ADDRESSES, new, strict=True):
            await routed.until_answered(address, by="one")
            await router.until_logged("Service has this address", cluster_ip=cluster_ip)
    assert not await routed.lab.arrivals()


PROBLEMS: dict[str, dict[str, object]] = {
    "headless": {"clusterIP": "None", "clusterIPs": ["None"]},
    "port_missing": {"ports": [{"name": "http", "port": ROUTER_PORT, "protocol": "TCP"}]},
    "port_not_tcp": {"ports": [{"name": "router", "port": ROUTER_PORT, "protocol": "UDP"}]},
    "port_differs": {"ports": [{"name": "router", "port": 8170, "protocol": "TCP"}]},
    "external_name": {"type": "ExternalName"},
}


async def test_a_service_that_cannot_be_routed_to_is_named(routed_to_service: RouterLab) -> None:
    """Pods are refused, a line of the log, a metric and an event on the Node say why; mending it is enough."""
    routed, api = routed_to_service, routed_to_service.cluster.api
    namespace = routed.cluster.namespace
    await routed.serve(routed.lab.server("one"))
    good = api.get("services", SERVICE, namespace=namespace)
    async with routed.router() as router:
        await router.until_ready()
        for problem, spec in PROBLEMS.items():
            api.update({**good, "spec": {**good["spec"], **spec}})
            line = await router.until_logged("Service cannot be routed to", problem=problem)
            assert f"Service {namespace}/{SERVICE}" in line["explanation"]
            await routed.until_refused(METADATA_IPV4)
            assert await router.metric(f'ip2service_service_problem{{reason="{problem}"}}') == 1
            assert (await router.ask("/readyz")).status == 200, "its rules are right"
            await eventually(lambda: told(routed, "RoutingBroken"))
            api.update(good)
            await router.until_logged("Service's problem is over", problem=problem)
            await routed.until_answered(METADATA_IPV4, by="one")
            assert await router.metric(f'ip2service_service_problem{{reason="{problem}"}}') == 0
        await eventually(lambda: told(routed, "RoutingMended"))
    assert not await routed.lab.arrivals()


async def test_a_headless_service_is_enough_where_the_router_chooses(routed_to_endpoints: RouterLab) -> None:
    """In endpoints mode nobody asks for its cluster IP, or for its port's number."""
    routed = routed_to_endpoints
    await routed.cluster.create_service(SERVICE, port=80, headless=True)
    await routed.change(routed.lab.server("one"))
    async with routed.router() as router:
        await router.until_ready()
        for address in METADATA_ADDRESSES:
            await routed.until_answered(address, by="one")
        assert not router.logged("Service cannot be routed to")


async def until_cut(kept: Connection) -> None:
    """Wait until a kept connection has been reset. Raises `TimeoutError`."""

    async def cut() -> bool:
        return (await kept.ask()).result is Result.REFUSED

    await eventually(cut)


async def keep_at(routed: RouterLab, by: str) -> Connection:
    """A kept connection to this server, which chance gives after a few tries."""
    async with asyncio.timeout(10.0):
        while True:
            kept = await routed.lab.pod("a").keep(METADATA_IPV4, 80)
            if (await kept.ask()).by == by:
                return kept
            kept.close()


async def told(routed: RouterLab, reason: str) -> bool:
    """Whether there is such an event on the Node."""
    events = routed.cluster.api.list("events")
    return any(event["reason"] == reason and event["involvedObject"]["name"] == routed.node for event in events)
