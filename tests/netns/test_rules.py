"""What the rules do to packets, on the real kernel, in both modes and both families; without the router's process."""

import asyncio
from contextlib import closing

import pytest

from iam4kube.sandbox.network import METADATA_ADDRESSES
from ip2service.layout import Mode
from tests.support.node_lab import REAL, NodeLab
from tests.support.node_lab_probes import Result
from tests.support.ruled_lab import RuledLab

pytestmark = pytest.mark.netns

AT_ONCE = 0.010  # seconds; 0.1 to 0.2 ms on an idle machine
TRIES = 5

both_families = pytest.mark.parametrize("address", METADATA_ADDRESSES)


@pytest.fixture(params=list(Mode), ids=[mode.value for mode in Mode])
def ruled(lab: NodeLab, request: pytest.FixtureRequest) -> RuledLab:
    """The laboratory, in each mode."""
    return RuledLab(lab, request.param)


@both_families
async def test_a_pod_reaches_a_server_which_sees_the_pods_own_address(ruled: RuledLab, address: str) -> None:
    """The address is the identity: no translation of the source, on the way there or back."""
    await ruled.install([ruled.lab.server("one")])
    pod = ruled.lab.pod("a")
    outcome = await pod.connect(address, 80)
    assert (outcome.result, outcome.by, outcome.source) == (Result.ANSWERED, "one", pod.own(address))


@both_families
async def test_the_node_itself_still_reaches_the_real_service(ruled: RuledLab, address: str) -> None:
    """The kubelet and the CNI need the node's role; their packets pass neither prerouting nor forward."""
    await ruled.install([ruled.lab.server("one")])
    await ruled.protect_by_policy()
    outcome = await ruled.lab.node.connect(address, 80)
    assert (outcome.by, outcome.source) == (REAL, ruled.lab.node.own(address))


@both_families
async def test_every_other_port_and_protocol_is_refused(ruled: RuledLab, address: str) -> None:
    """TCP elsewhere, UDP and ICMP are refused at once, and not one packet arrives."""
    await ruled.install([ruled.lab.server("one")])
    pod = ruled.lab.pod("a")
    outcomes = [
        await pod.connect(address, 8080),
        await pod.ask_udp(address, 80),
        await pod.ask_udp(address, 53),
        await pod.ping(address),
    ]
    assert [outcome.refused for outcome in outcomes] == [True] * 4, outcomes
    assert not await ruled.lab.arrivals()


@both_families
async def test_r19_a_closed_gate_refuses_at_once(ruled: RuledLab, address: str) -> None:
    """With no endpoint at all a client hears so in under 10 ms, and nothing arrives at the real service."""
    await ruled.install([ruled.lab.server("one")])
    await ruled.change([], gate=False)
    assert await quickest_refusal(ruled, address) < AT_ONCE
    assert not await ruled.lab.arrivals()


@both_families
async def test_r19_what_only_the_proxy_knows_to_be_gone_is_refused_at_once(ruled: RuledLab, address: str) -> None:
    """The gate is open still, and nobody translates the cluster IP, or the stand-in, any more."""
    await ruled.install([ruled.lab.server("one")])
    await ruled.change([])
    await ruled.proxy([])
    assert await quickest_refusal(ruled, address) < AT_ONCE
    assert not await ruled.lab.arrivals()


async def quickest_refusal(ruled: RuledLab, address: str) -> float:
    """Seconds of the quickest of a few refusals: the machine may be busy, the kernel is not."""
    outcomes = [await ruled.lab.pod("a").connect(address, 80) for _ in range(TRIES)]
    assert [outcome.result for outcome in outcomes] == [Result.REFUSED] * TRIES
    return min(outcome.seconds for outcome in outcomes)


@both_families
async def test_kept_connections_survive_a_closed_gate(ruled: RuledLab, address: str) -> None:
    """The gate is for opening packets: a request under way at a server that terminates is answered."""
    await ruled.install([ruled.lab.server("one")])
    pod = ruled.lab.pod("a")
    with closing(await pod.keep(address, 80)) as kept:
        assert (await kept.ask()).by == "one"
        await ruled.change([], gate=False)
        assert (await pod.connect(address, 80)).refused
        assert (await kept.ask()).by == "one"


@both_families
async def test_kept_connections_stay_where_they_are_when_endpoints_change(ruled: RuledLab, address: str) -> None:
    """New ones go to the new server; connection tracking keeps the old ones with theirs."""
    one, two = ruled.lab.server("one"), ruled.lab.server("two")
    await ruled.install([one])
    pod = ruled.lab.pod("a")
    with closing(await pod.keep(address, 80)) as kept:
        assert (await kept.ask()).by == "one"
        await ruled.change([two])
        await ruled.proxy([two])
        assert (await pod.connect(address, 80)).by == "two"
        assert (await kept.ask()).by == "one"


@both_families
async def test_r23_a_connection_older_than_the_rules_is_reset(ruled: RuledLab, address: str) -> None:
    """It leads to the real service, and would go on doing so for as long as its client likes."""
    pod = ruled.lab.pod("a")
    with closing(await pod.keep(address, 80)) as old:
        assert (await old.ask()).by == REAL
        await ruled.install([ruled.lab.server("one")])
        outcome = await old.ask()
        assert (outcome.result, outcome.by) == (Result.REFUSED, None)
    assert (await pod.connect(address, 80)).by == "one"


@both_families
async def test_r24_an_exempt_pod_reaches_the_real_service_on_its_port_and_nowhere_else(
    ruled: RuledLab, address: str
) -> None:
    """A server beside its clients gets its own role from the real service; the clients still do not."""
    server, pod = ruled.lab.pod("b"), ruled.lab.pod("a")
    await ruled.install([ruled.lab.server("one")], exempt=[server])
    assert (await server.connect(address, 80)).by == REAL
    assert (await server.connect(address, 8080)).refused
    assert (await server.ask_udp(address, 80)).refused
    assert (await server.ping(address)).refused
    assert (await pod.connect(address, 80)).by == "one"
    assert set(await ruled.lab.arrivals()) == {server.own(address)}


@both_families
async def test_r21_with_the_guard_alone_everything_is_refused(ruled: RuledLab, address: str) -> None:
    """As after a boot: the boot rules are there, the router has never run."""
    await ruled.guard()
    pod = ruled.lab.pod("a")
    assert (await pod.connect(address, 80)).result is Result.REFUSED
    assert (await pod.ask_udp(address, 80)).refused
    assert (await ruled.lab.node.connect(address, 80)).by == REAL


@both_families
async def test_policy_routing_refuses_when_another_program_has_flushed_all_rules(ruled: RuledLab, address: str) -> None:
    """`nft flush ruleset` takes both tables; the pod is still refused at once, and the node still served."""
    await ruled.install([ruled.lab.server("one")])
    await ruled.protect_by_policy()
    assert (await ruled.lab.pod("a").connect(address, 80)).by == "one"
    await ruled.load("flush ruleset")
    assert (await ruled.lab.pod("a").connect(address, 80)).refused
    assert (await ruled.lab.node.connect(address, 80)).by == REAL
    assert not set(await ruled.lab.arrivals()) - {ruled.lab.node.own(address)}


async def test_endpoints_share_new_connections(lab: NodeLab) -> None:
    """By chance, each its part: of 80 connections neither of two servers gets fewer than 20 (p < 0.00001)."""
    ruled = RuledLab(lab, Mode.ENDPOINTS)
    await ruled.install([lab.server("one"), lab.server("two")])
    pod = lab.pod("a")
    outcomes = await asyncio.gather(*(pod.connect(METADATA_ADDRESSES[0], 80) for _ in range(80)))
    by = [outcome.by for outcome in outcomes]
    assert set(by) == {"one", "two"}
    assert min(by.count("one"), by.count("two")) >= 20
