"""Server pods on the router's own node, which need the real metadata service: whom the running router lets through."""

import json
from contextlib import closing
from typing import Any

import pytest

from iam4kube.sandbox.network import METADATA_ADDRESSES, METADATA_IPV4
from tests.support.node_lab import REAL, LabHost, NodeLab
from tests.support.node_lab_probes import Result
from tests.support.node_lab_rules import arrivals_of_pods, policy_rules
from tests.support.router_lab import RouterLab, endpoints_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.netns

EXEMPT_SECONDS = 60


async def test_r24_only_servers_of_this_node_are_exempt(routed: RouterLab) -> None:
    """Not those of other nodes, nor terminating ones, nor those in the node's own network; and on port 80 only."""
    lab = routed.lab
    own, other, leaving = [lab.add_pod(name) for name in ("own", "other", "leaving")]
    await routed.create_service()
    await routed.proxy(lab.server("one"))
    others = (
        *endpoints_of(lab.server("one"), node="elsewhere", pod="one"),
        *endpoints_of(other, node="elsewhere", pod="other", ready=False, serving=False),
        *endpoints_of(leaving, node=routed.node, pod="leaving", ready=False, serving=False, terminating=True),
        *endpoints_of(lab.node, node=routed.node, pod="host-network", ready=False, serving=False),
    )
    # Ready or not: without credentials of its own it may never become so.
    await routed.set_endpoints(*endpoints_of(own, node=routed.node, pod="own", ready=False, serving=False), *others)
    async with routed.router("--exempt-servers") as router:
        await router.until_ready()
        await router.until_metric("ip2service_exempt_pods", 2)
        for address in METADATA_ADDRESSES:
            assert (await own.connect(address, 80)).by == REAL
            assert (await own.connect(address, 8080)).refused
            for pod in other, leaving, lab.pod("a"):
                assert (await pod.connect(address, 80)).by == "one"
        assert await exempt(lab) == {own.ipv4, own.ipv6}
        terminating = endpoints_of(own, node=routed.node, pod="own", ready=False, serving=False, terminating=True)
        await routed.set_endpoints(*terminating, *others)
        await router.until_metric("ip2service_exempt_pods", 0)
        await eventually(lambda: nobody_is_exempt(lab))
        for address in METADATA_ADDRESSES:
            assert (await own.connect(address, 80)).by == "one"
    assert await arrivals_of_pods(lab) == {own.ipv4, own.ipv6}


async def test_r24_nobody_is_exempt_unless_it_is_wanted(routed_to_endpoints: RouterLab) -> None:
    """A server on a worker node has no need of the node's role when its own is given in another way."""
    routed, lab = routed_to_endpoints, routed_to_endpoints.lab
    own = await lab.add_server("own", node=lab.node)
    await routed.create_service()
    await routed.set_endpoints(*endpoints_of(own, node=routed.node, pod="own"))
    async with routed.router() as router:
        await router.until_ready()
        await routed.until_answered(METADATA_IPV4, by="own")
        assert await exempt(lab) == set()
    assert not await arrivals_of_pods(lab)


async def test_r24_exemptions_last_a_minute_at_most(routed_to_endpoints: RouterLab) -> None:
    """Each is renewed while the router runs; no element of any set of exempt pods is there for longer."""
    routed, lab = routed_to_endpoints, routed_to_endpoints.lab
    own = await lab.add_server("own", node=lab.node)
    await routed.create_service()
    await routed.set_endpoints(*endpoints_of(own, node=routed.node, pod="own"))
    async with routed.router("--exempt-servers") as router:
        await router.until_metric("ip2service_exempt_pods", 2)
        await eventually(lambda: is_exempt(lab, own))
        await router.kill()
        remaining = [element["expires"] for element in await exempt_elements(lab)]
        assert len(remaining) == 4
        assert max(remaining) <= EXEMPT_SECONDS
        assert min(remaining) > EXEMPT_SECONDS / 2


@pytest.mark.timeout(120)
async def test_r24_an_exempt_pods_heir_gets_nothing_once_the_router_has_been_dead_for_a_minute(
    routed_to_endpoints: RouterLab,
) -> None:
    """The address goes to another pod, and nobody is there to hear of it: the kernel's clock ends the exemption."""
    routed, lab = routed_to_endpoints, routed_to_endpoints.lab
    own, one = await lab.add_server("own", node=lab.node), lab.server("one")
    await routed.create_service()
    await routed.set_endpoints(*endpoints_of(own, node=routed.node, pod="own"), *endpoints_of(one))
    async with routed.router("--exempt-servers") as router:
        await router.until_ready()
        await eventually(lambda: is_exempt(lab, own))
        await router.kill()
    assert (await own.connect(METADATA_IPV4, 80)).by == REAL
    lab.remove(own)
    heir = lab.add_pod("heir", addresses=(own.ipv4, own.ipv6))
    await eventually(lambda: nobody_is_exempt(lab), seconds=EXEMPT_SECONDS + 5)
    seen = lab.stand_in.connections.copy()
    for address in METADATA_ADDRESSES:
        outcomes = [await heir.connect(address, 80, timeout=0.2) for _ in range(5)]
        assert {outcome.by for outcome in outcomes} <= {"one", None}
    await routed.load("delete table inet ip2service")  # the guard behind it
    for address in METADATA_ADDRESSES:
        assert (await heir.connect(address, 80)).result is Result.REFUSED
    assert lab.stand_in.connections == seen


async def test_r24_a_router_that_starts_again_ends_exemptions_of_pods_that_are_gone(
    routed_to_endpoints: RouterLab,
) -> None:
    """With their policy rules, which have no time-out."""
    routed, lab = routed_to_endpoints, routed_to_endpoints.lab
    own = await lab.add_server("own", node=lab.node)
    await routed.create_service()
    await routed.set_endpoints(*endpoints_of(own, node=routed.node, pod="own"))
    async with routed.router("--exempt-servers") as router:
        await router.until_ready()
        await eventually(lambda: is_exempt(lab, own))
        await router.kill()
        assert [rule for rule in await policy_rules(lab) if rule.startswith("5:")]
        await routed.set_endpoints(*endpoints_of(lab.server("one")))
        await router.start()
        await router.until_ready()
        await eventually(lambda: nobody_is_exempt(lab))
        assert not [rule for rule in await policy_rules(lab) if rule.startswith("5:")]


async def test_a_router_that_cannot_read_its_node_cuts_off_nobody(routed_to_endpoints: RouterLab) -> None:
    """Whoever is exempt stays so for the time that the kernel counts; a router's restart is no reason to end it."""
    routed, lab = routed_to_endpoints, routed_to_endpoints.lab
    own = await lab.add_server("own", node=lab.node)
    await routed.create_service()
    await routed.set_endpoints(*endpoints_of(own, node=routed.node, pod="own"), *endpoints_of(lab.server("one")))
    async with routed.router("--exempt-servers") as router:
        await eventually(lambda: is_exempt(lab, own))
        with closing(await own.keep(METADATA_IPV4, 80)) as kept:
            assert (await kept.ask()).by == REAL
            await router.kill()
            fault = routed.cluster.api.faults.forbid(verb="get", resource="nodes")
            await router.start()
            await router.until_logged("New connections are let in: a server is ready")
            await router.until_ready()
            assert (await kept.ask()).by == REAL
            assert (await own.connect(METADATA_IPV4, 80)).by == REAL
            assert await is_exempt(lab, own)
            assert fault.hits


async def exempt_elements(lab: NodeLab) -> list[dict[str, Any]]:
    """The elements of all sets of exempt pods, with their remaining seconds."""
    listing = json.loads(await lab.node.command("nft", "-j", "list", "ruleset"))
    sets = [item["set"] for item in listing["nftables"] if item.get("set", {}).get("name", "").startswith("exempt")]
    return [element["elem"] for each in sets for element in each.get("elem", ())]


async def exempt(lab: NodeLab) -> set[str]:
    """Whose addresses are exempt in any table."""
    return {element["val"] for element in await exempt_elements(lab)}


async def is_exempt(lab: NodeLab, pod: LabHost) -> bool:
    """Whether a pod is exempt in both families, for the tables and for policy routing."""
    allowed = {rule.split()[2] for rule in await policy_rules(lab) if rule.startswith("5:")}
    return {pod.ipv4, pod.ipv6} <= await exempt(lab) & allowed


async def nobody_is_exempt(lab: NodeLab) -> bool:
    """Whether nobody is."""
    return not await exempt(lab)
