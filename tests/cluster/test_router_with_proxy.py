"""The router beside the real kube-proxy in both of its modes, and without any, against a real API server."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

import pytest
import pytest_asyncio

from iam4kube.sandbox.network import METADATA_ADDRESSES, METADATA_IPV6
from tests.support.controlplane import ControlPlane
from tests.support.node_lab import REAL, SERVER_PORT, NodeLab
from tests.support.node_lab_cluster import Endpoint
from tests.support.node_lab_probes import Outcome, Result
from tests.support.real_router_lab import DATA_PLANES, Running, paused, running_node
from tests.support.router_lab import endpoints_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.netns, pytest.mark.cluster]

AT_ONCE = 0.010  # seconds; 0.1 to 0.2 ms on an idle machine
TRIES = 5


@pytest.fixture(params=DATA_PLANES)
def data_plane(request: pytest.FixtureRequest) -> str:
    """Each of them, by its name."""
    return str(request.param)


@pytest_asyncio.fixture
async def running(control_plane: ControlPlane, data_plane: str, tmp_path: Path) -> AsyncIterator[Running]:
    """A node in each data plane."""
    flags, plane = ("--exempt-servers",), DATA_PLANES[data_plane]
    async with NodeLab() as lab, running_node(lab, control_plane, plane, *flags, folder=tmp_path) as running:
        yield running


async def quickest_refusal(running: Running, address: str) -> float:
    """Seconds of the quickest of a few refusals: the machine may be busy, the kernel is not."""
    outcomes = [await running.lab.pod("a").connect(address, 80) for _ in range(TRIES)]
    assert [outcome.result for outcome in outcomes] == [Result.REFUSED] * TRIES
    return min(outcome.seconds for outcome in outcomes)


async def test_pods_reach_a_server_with_their_own_addresses_and_the_node_the_real_service(running: Running) -> None:
    """The address is the identity, in every data plane; the node's own connections pass none of the rules."""
    lab = running.lab
    for address in METADATA_ADDRESSES:
        for pod in map(lab.pod, "abc"):
            outcome = await pod.connect(address, 80)
            assert (outcome.result, outcome.by, outcome.source) == (Result.ANSWERED, "one", pod.own(address))
            assert (await pod.connect(address, 8080)).refused
            assert (await pod.ask_udp(address, 80)).refused
        outcome = await lab.node.connect(address, 80)
        assert (outcome.by, outcome.source) == (REAL, lab.node.own(address))
    assert set(await lab.arrivals()) == {lab.node.ipv4, lab.node.ipv6}


async def test_r19_no_endpoint_is_refused_at_once_by_the_routers_map(running: Running) -> None:
    """The router alone knows it: kube-proxy, held back, would still lead to the server."""
    with paused(running.proxy.pid) if running.proxy else nullcontext():
        await running.real.change()
        await running.real.until_refused()
        for address in METADATA_ADDRESSES:
            assert await quickest_refusal(running, address) < AT_ONCE
    assert not await running.lab.arrivals()


@pytest.mark.parametrize("data_plane", [name for name, each in DATA_PLANES.items() if each.proxy])
async def test_r19_no_endpoint_is_refused_at_once_when_only_the_proxy_knows(running: Running) -> None:
    """The router is held back, its gate is open, and kube-proxy translates the cluster IPs no more."""
    with paused(running.router.pid):
        await running.real.change()
        await running.real.until_refused()
        for address in METADATA_ADDRESSES:
            assert await quickest_refusal(running, address) < AT_ONCE
        for family, cluster_ip in zip("46", running.real.cluster_ips, strict=True):
            gate = await running.lab.node.command("nft", "list", "map", "inet", "ip2service", f"opening{family}")
            assert f": {cluster_ip} " in gate
    assert not await running.lab.arrivals()


async def test_kept_connections_survive_a_closed_gate_and_other_endpoints(running: Running) -> None:
    """Their server terminates and takes nothing new: what is under way there is answered to its end."""
    terminating = endpoints_of(running.lab.server("one"), ready=False, serving=False, terminating=True)
    with ExitStack() as stack:
        kept = [stack.enter_context(closing(await running.lab.pod("a").keep(each, 80))) for each in METADATA_ADDRESSES]
        assert [(await each.ask()).by for each in kept] == ["one"] * 2
        await running.real.set_endpoints(terminating)
        await running.real.until_refused()
        assert [(await each.ask()).by for each in kept] == ["one"] * 2
        await running.real.set_endpoints([*terminating, *endpoints_of(running.lab.server("two"))])
        await running.real.until_answered(by="two")
        assert [(await each.ask()).by for each in kept] == ["one"] * 2


async def test_a_server_that_serves_while_it_terminates_is_used_when_there_is_no_other(running: Running) -> None:
    """With the last replica terminating, and its successor not ready yet, pods are served on."""
    last = endpoints_of(running.lab.server("two"), ready=False, serving=True, terminating=True)
    await running.real.set_endpoints([*last, *endpoints_of(running.lab.server("one"), ready=False, serving=False)])
    await running.real.until_answered(by="two")
    await running.real.set_endpoints([*last, *endpoints_of(running.lab.server("one"))])
    await running.real.until_answered(by="one")


async def test_r24_a_server_pod_of_this_node_reaches_the_real_service_until_it_terminates(running: Running) -> None:
    """Beside a real kube-proxy, too: only it, and only on the metadata service's port."""
    lab, real = running.lab, running.real
    near, one = await lab.add_server("near", node=lab.node), endpoints_of(running.lab.server("one"))
    await real.set_endpoints([*one, *endpoints_of(near, node=real.node, pod="near")])
    await real.until_answered(by=REAL, pod="near")
    for address in METADATA_ADDRESSES:
        assert (await near.connect(address, 8080)).refused
        assert (await near.ask_udp(address, 80)).refused
        assert (await running.lab.pod("a").connect(address, 80)).by in ("one", "near")
    leaving = endpoints_of(near, ready=False, serving=True, terminating=True, node=real.node, pod="near")
    await real.set_endpoints([*one, *leaving])
    await real.until_answered(by="one", pod="near")
    assert set(await lab.arrivals()) == {near.ipv4, near.ipv6}


async def test_a_service_made_anew_with_another_address_is_followed(running: Running) -> None:
    """In between, pods are refused at once; afterwards they are served."""
    before = running.real.cluster_ips
    await running.real.delete_service()
    await running.real.until_refused()
    for address in METADATA_ADDRESSES:
        assert await quickest_refusal(running, address) < AT_ONCE
    await running.real.serve(running.lab.server("two"))
    assert not set(running.real.cluster_ips) & set(before)
    await running.real.until_answered(by="two")
    assert not await running.lab.arrivals()


@pytest.mark.parametrize("data_plane", [name for name, each in DATA_PLANES.items() if each.proxy])
async def test_a_tenants_service_does_not_lead_to_the_real_service(running: Running) -> None:
    """The API server takes fd00:ec2::254 as an endpoint, and kube-proxy translates to it: after `there` and the guard.

    Policy routing refuses; and where somebody has deleted its rules, the guard's second chain.
    """
    lab, cluster, metadata = running.lab, running.real.cluster, METADATA_IPV6
    _, trap = await cluster.create_service("trap", port=80)
    await cluster.set_endpoints("trap", endpoints_of(lab.server("one")))
    await until(running, trap, lambda outcome: outcome.by == "one")
    with paused(running.router.pid):
        await cluster.set_endpoints("trap", [Endpoint(address=metadata)])
        await until(running, trap, lambda outcome: outcome.by is None)
        assert (await lab.pod("a").connect(trap, 80)).refused
        await lab.node.command("ip", "-6", "rule", "delete", "to", metadata, "prohibit")
        assert (await lab.pod("a").connect(trap, 80)).refused
    assert not await lab.arrivals()


@pytest.mark.parametrize("data_plane", [name for name, each in DATA_PLANES.items() if each.proxy])
async def test_a_tenants_service_with_external_ips_answers_for_a_server(running: Running) -> None:
    """Why the policy `external-ips` is there (CVE-2020-8554): kube-proxy obeys, and no rule of ours can help.

    Here on the pod's node; what comes through the router meets kube-proxy so on the server's.
    """
    lab, cluster = running.lab, running.real.cluster
    one, two = lab.server("one"), lab.server("two")
    assert [(await lab.pod("a").connect(each, SERVER_PORT)).by for each in (one.ipv4, one.ipv6)] == ["one"] * 2
    await cluster.create_service("tenant", port=SERVER_PORT, external=(one.ipv4, one.ipv6))
    await cluster.set_endpoints("tenant", endpoints_of(two))
    for address in one.ipv4, one.ipv6:
        await until(running, address, lambda outcome: outcome.by == "two", port=SERVER_PORT)


async def until(running: Running, address: str, holds: Callable[[Outcome], bool], *, port: int = 80) -> None:
    """Wait until a pod gets such an answer there. Raises `TimeoutError`."""

    async def does_hold() -> bool:
        return holds(await running.lab.pod("a").connect(address, port))

    await eventually(does_hold)
