"""Pods and a server on one bridge, as flannel, kubenet and others wire them: replies could pass the rules by."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from iam4kube.sandbox.network import METADATA_ADDRESSES, METADATA_IPV4
from ip2service.layout import Mode
from tests.support.node_lab import LabHost, LabServer, NodeLab
from tests.support.node_lab_probes import Result
from tests.support.ruled_lab import RuledLab

pytestmark = pytest.mark.netns


@pytest_asyncio.fixture
async def server(lab: NodeLab) -> AsyncIterator[LabServer]:
    """A server on the same bridge as pod a; they find each other without the node."""
    server, pod = await lab.add_server("near", node=lab.node), lab.pod("a")
    await lab.node.command("ip", "link", "add", "cni0", "type", "bridge")
    await lab.node.command("ip", "link", "set", "cni0", "up")
    await lab.node.command("ip", "address", "add", "fe80::1/64", "dev", "cni0", "nodad")
    for host, neighbour in (pod, server), (server, pod):
        await _attach(lab, host)
        for address in neighbour.host.addresses:
            await host.command("ip", "route", "add", str(address), "dev", "eth0")
    yield server


async def _attach(lab: NodeLab, host: LabHost) -> None:
    """Make the node's link to a host a port of the bridge."""
    link = host.host.link
    await lab.node.command("ip", "address", "flush", "dev", link)
    await lab.node.command("ip", "link", "set", link, "master", "cni0")
    for address in host.host.addresses:
        await lab.node.command("ip", "route", "replace", str(address), "dev", "cni0")


def call_netfilter(lab: NodeLab, *, wanted: bool) -> None:
    """Whether what the bridge carries passes the rules of IPv4 and IPv6; kube-proxy needs it, too."""
    for program in "iptables", "ip6tables":
        lab.node.namespace.set_parameter(f"bridge.bridge-nf-call-{program}", int(wanted))


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("address", METADATA_ADDRESSES)
async def test_a_pod_reaches_a_server_on_its_bridge(lab: NodeLab, server: LabServer, mode: Mode, address: str) -> None:
    """The reply is carried from port to port, and is rewritten nevertheless."""
    call_netfilter(lab, wanted=True)
    await RuledLab(lab, mode).install([server])
    pod = lab.pod("a")
    outcome = await pod.connect(address, 80)
    assert (outcome.result, outcome.by, outcome.source) == (Result.ANSWERED, "near", pod.own(address))


@pytest.mark.parametrize("mode", Mode)
async def test_without_netfilter_on_the_bridge_nobody_answers_and_nothing_leaks(
    lab: NodeLab, server: LabServer, mode: Mode
) -> None:
    """The reply takes the short way with the server's own address, which the pod does not know."""
    call_netfilter(lab, wanted=False)
    await RuledLab(lab, mode).install([server])
    assert (await lab.pod("a").connect(METADATA_IPV4, 80, timeout=0.5)).result is not Result.ANSWERED
    assert not await lab.arrivals()
