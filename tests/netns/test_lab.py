"""The laboratory itself: without rules everybody reaches everybody, so that later a refusal means something."""

import asyncio
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from iam4kube.sandbox.network import METADATA_ADDRESSES, METADATA_IPV4, Namespace, NodeNetwork
from tests.support.node_lab import REAL, SERVER_PORT, STAND_IN_PORTS, NodeLab
from tests.support.node_lab_attempts import SILENCE, attempting
from tests.support.node_lab_probes import Result

pytestmark = pytest.mark.netns

families = pytest.mark.parametrize("version", [4, 6])


@pytest.mark.parametrize("address", METADATA_ADDRESSES)
@pytest.mark.parametrize("port", STAND_IN_PORTS)
async def test_without_rules_a_pod_reaches_the_real_service(lab: NodeLab, address: str, port: int) -> None:
    """Without rules a pod's connection and datagram reach the real metadata service on every port."""
    pod = lab.pod("a")
    for outcome in await pod.connect(address, port), await pod.ask_udp(address, port):
        assert (outcome.result, outcome.by, outcome.source) == (Result.ANSWERED, REAL, pod.own(address))
    assert lab.stand_in.connections[pod.own(address)] == 1
    assert lab.stand_in.datagrams[pod.own(address)] == 1


@pytest.mark.parametrize("address", METADATA_ADDRESSES)
async def test_without_rules_a_ping_reaches_the_real_service_and_is_counted(lab: NodeLab, address: str) -> None:
    """An echo request arrives, is answered, and is counted among what arrived, under the pod's address."""
    pod = lab.pod("b")
    assert (await pod.ping(address)).result is Result.ANSWERED
    assert (await lab.arrivals())[pod.own(address)] == 1


@pytest.mark.parametrize("address", METADATA_ADDRESSES)
async def test_the_node_reaches_the_real_service(lab: NodeLab, address: str) -> None:
    """The node's own connections reach the real metadata service and are counted under its own address."""
    outcome = await lab.node.connect(address, 80)
    assert (outcome.by, outcome.source) == (REAL, lab.node.own(address))
    assert set(await lab.arrivals()) == {lab.node.own(address)}


@families
async def test_servers_see_pods_with_their_own_addresses(lab: NodeLab, version: int) -> None:
    """Every pod reaches every server, and is seen with its own address."""
    for pod in map(lab.pod, "abc"):
        for server in map(lab.server, ("one", "two")):
            address = server.ipv4 if version == 4 else server.ipv6
            outcome = await pod.connect(address, SERVER_PORT)
            assert (outcome.by, outcome.source) == (server.host.name, pod.own(address))


@families
async def test_a_server_may_be_a_pod_on_the_same_node_or_on_another(lab: NodeLab, version: int) -> None:
    """Pods on the same node and on another are reached, and see the pod's own address."""
    for node in lab.node, lab.add_node("far-node"):
        server = await lab.add_server(f"on-{node.host.name}", node=node)
        address = server.ipv4 if version == 4 else server.ipv6
        outcome = await lab.pod("a").connect(address, SERVER_PORT)
        assert (outcome.by, outcome.source) == (server.host.name, lab.pod("a").own(address))


@families
async def test_an_address_moves_to_another_pod(lab: NodeLab, version: int) -> None:
    """A removed pod's addresses work for another pod, on the same node or on another, at once."""
    server, gone = lab.server("one"), lab.pod("a")
    address = server.ipv4 if version == 4 else server.ipv6
    for node in lab.node, lab.add_node("far-node"):
        lab.remove(gone)
        gone = lab.add_pod(f"heir-{node.host.name}"[:12], addresses=(gone.ipv4, gone.ipv6), node=node)
        outcome = await gone.connect(address, SERVER_PORT)
        assert (outcome.by, outcome.source) == ("one", gone.own(address))


async def test_a_kept_connection_answers_again_and_again(lab: NodeLab) -> None:
    """One connection is answered as often as it asks, and is one connection."""
    with closing(await lab.pod("a").keep(METADATA_IPV4, 80)) as kept:
        assert [(await kept.ask()).by for _ in range(3)] == [REAL] * 3
    assert lab.stand_in.connections.total() == 1


@families
async def test_outcomes_tell_refused_from_silent(lab: NodeLab, version: int) -> None:
    """Nobody on a port is refused at once; an address that nobody has is silence."""
    server = lab.server("one")
    refused = await lab.pod("a").connect(server.ipv4 if version == 4 else server.ipv6, 1)
    assert (refused.result, refused.error) == (Result.REFUSED, "ECONNREFUSED")
    assert refused.seconds < 0.5
    assert (await lab.pod("a").connect(nobody(version), 80, timeout=0.2)).result is Result.TIMEOUT
    assert (await lab.pod("a").ping(nobody(version), timeout=0.2)).result is Result.TIMEOUT


async def test_a_removed_server_is_silent(lab: NodeLab) -> None:
    """A kept connection to a server that has been removed gets no answer any more."""
    server = lab.server("one")
    with closing(await lab.pod("a").keep(server.ipv4, SERVER_PORT, timeout=0.2)) as kept:
        assert (await kept.ask()).by == "one"
        lab.remove(server)
        assert (await kept.ask()).result is Result.TIMEOUT


async def test_the_relay_leads_from_the_node_to_this_machine(lab: NodeLab) -> None:
    """A port of this machine's loopback is reached from the node under the same number, and from nowhere else."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"outside 127.0.0.1\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await lab.node.connect("127.0.0.1", port)).refused
        async with lab.relay(port):
            assert (await lab.node.connect("127.0.0.1", port)).by == "outside"
            assert (await lab.pod("a").connect("127.0.0.1", port)).result is not Result.ANSWERED
        assert (await lab.node.connect("127.0.0.1", port)).refused


def test_processes_run_inside_and_end_with_their_namespace() -> None:
    """A process is in its namespace, and closing the namespace ends it."""
    with Namespace() as namespace:
        process = namespace.popen(["sleep", "60"])
        there = Path(f"/proc/{process.pid}/ns/net").stat().st_ino
        assert there == Path(namespace.path).stat().st_ino != Path("/proc/self/ns/net").stat().st_ino
    assert process.returncode is not None


def test_a_user_namespaces_root_may_build_a_network() -> None:
    """Nobody needs to be the machine's root: `unshare --map-root-user` is enough."""
    build = "from iam4kube.sandbox.network import NodeNetwork, obstacle; assert not obstacle(); NodeNetwork().close()"
    command = ("unshare", "--map-root-user", sys.executable, "-c", build)
    subprocess.run(command, check=True, timeout=20.0)


def test_nothing_of_a_network_stays() -> None:
    """Building and closing a network leaves no open file and changes no link of this machine's."""
    NodeNetwork().close()  # what the first one loads once is not counted
    before = _names("/proc/self/fd"), _names("/sys/class/net")
    with NodeNetwork() as network:
        network.add_pod("a")
    assert (_names("/proc/self/fd"), _names("/sys/class/net")) == before


def nobody(version: int) -> str:
    """An address that nobody has."""
    return "10.3.0.1" if version == 4 else "fd00:10:3::1"


def _names(folder: str) -> set[str]:
    return {entry.name for entry in Path(folder).iterdir()}


@families
async def test_many_attempts_are_counted_by_who_answered(lab: NodeLab, version: int) -> None:
    """All attempts are accounted for: by who answered, as refused, or as silence; and the service saw as many."""
    pod, server = lab.pod("a"), lab.server("one")
    address = server.ipv4 if version == 4 else server.ipv6
    async with attempting(pod, address, SERVER_PORT, most=2_000) as attempts:
        await attempts.until(2_000)
    assert attempts.answers == {"one": 2_000}
    assert server.service.connections == {pod.own(address): 2_000}
    async with attempting(pod, address, 1, most=1_000) as attempts:
        await attempts.until(1_000)
    assert attempts.failures == {"ECONNREFUSED": 1_000}
    async with attempting(pod, nobody(version), 80, most=100, at_once=100, timeout=0.1) as attempts:
        await attempts.until(100)
    assert attempts.failures == {SILENCE: 100}


async def test_waiting_for_attempts_that_never_come_fails(lab: NodeLab) -> None:
    """Whoever waits for more attempts than there will be is told so at once."""
    async with attempting(lab.pod("a"), METADATA_IPV4, 80, most=10) as attempts:
        with pytest.raises(EOFError, match="after 10 attempts"):
            await attempts.until(11)
