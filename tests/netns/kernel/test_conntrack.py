"""Connection tracking in the real kernel, its entries made by netlink."""

import socket
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import pytest
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from iam4kube.kube.objects import Address
from iam4kube.sandbox.network import METADATA_IPV4, Namespace
from ip2service.kernel.conntrack import ConnectionTracking
from ip2service.kernel.netlink import Netlink, NetlinkRefused
from ip2service.layout import STAND_IN, Family, Mode
from tests.support.capabilities import drop_net_admin
from tests.support.node_lab import NodeLab
from tests.support.node_lab_attempts import attempting
from tests.support.ruled_lab import RuledLab

pytestmark = pytest.mark.netns

PORT = 8169
KEPT = {Family.IPV4: Address("10.2.0.1"), Family.IPV6: Address("fd00:10:2::1")}
GONE = {Family.IPV4: Address("10.2.0.2"), Family.IPV6: Address("fd00:10:2::2")}
POD = {Family.IPV4: Address("10.1.0.7"), Family.IPV6: Address("fd00:10:1::7")}
NUMBERS = {Family.IPV4: int(socket.AF_INET), Family.IPV6: int(socket.AF_INET6)}


class Flow(NamedTuple):
    """A connection of the pod's that was translated to a server."""

    family: Family
    source_port: int
    destination: Address
    port: int
    server: Address
    protocol: int = socket.IPPROTO_TCP


def opened(flow: Flow) -> NFCTAttrTuple:
    """How the pod sees it."""
    return NFCTAttrTuple(
        family=NUMBERS[flow.family],
        saddr=POD[flow.family],
        daddr=flow.destination,
        proto=flow.protocol,
        sport=flow.source_port,
        dport=flow.port,
    )


def track(namespace: Namespace, flows: list[Flow]) -> None:
    """Make an entry for each."""

    def job() -> None:
        for flow in flows:
            answered = NFCTAttrTuple(
                family=NUMBERS[flow.family],
                saddr=flow.server,
                daddr=POD[flow.family],
                proto=flow.protocol,
                sport=8080,
                dport=flow.source_port,
            )
            with NFCTSocket(nfgen_family=NUMBERS[flow.family]) as table:
                table.entry("add", timeout=300, tuple_orig=opened(flow), tuple_reply=answered)

    namespace.run(job)


def tracked(namespace: Namespace, flows: list[Flow]) -> list[Flow]:
    """Those that have an entry."""

    def job() -> list[Flow]:
        entries = []
        for family, number in NUMBERS.items():
            with NFCTSocket(nfgen_family=number) as table:
                entries += [(family, entry.get_attr("CTA_TUPLE_ORIG")) for entry in list(table.dump())]
        return [
            flow
            for flow in flows
            if any(
                family is flow.family and opened(flow).nla_eq(NUMBERS[family], original) for family, original in entries
            )
        ]

    return namespace.run(job)


def flows_of(family: Family) -> tuple[list[Flow], list[Flow]]:
    """Those to be forgotten, and those that look alike in all but one thing."""
    stand_in, gone, kept = STAND_IN[family], GONE[family], KEPT[family]
    to_forget = [Flow(family, 40001, stand_in, PORT, gone), Flow(family, 40002, stand_in, PORT, gone)]
    others = [
        Flow(family, 40003, stand_in, PORT, kept),
        Flow(family, 40004, stand_in, PORT + 1, gone),
        Flow(family, 40005, kept, PORT, gone),
        Flow(family, 40006, gone, PORT, gone),
        Flow(family, 40007, stand_in, PORT, gone, socket.IPPROTO_UDP),
    ]
    return to_forget, others


async def test_exactly_the_connections_to_gone_servers_are_forgotten(namespace: Namespace, netlink: Netlink) -> None:
    """Entries of another port, destination, protocol or server stay; those to a server that is gone do not."""
    both = [flows_of(family) for family in Family]
    to_forget = [flow for forgotten, _ in both for flow in forgotten]
    others = [flow for _, kept in both for flow in kept]
    track(namespace, to_forget + others)
    assert tracked(namespace, to_forget + others) == to_forget + others

    tracking = ConnectionTracking(netlink)
    keep = frozenset(KEPT.values())
    assert await tracking.forget(frontends=STAND_IN, port=PORT, keep=keep) == len(to_forget)
    assert tracked(namespace, to_forget + others) == others
    assert await tracking.forget(frontends=STAND_IN, port=PORT, keep=keep) == 0


async def test_only_the_families_asked_for_are_looked_at(namespace: Namespace, netlink: Netlink) -> None:
    """Without a frontend for a family, none of its entries are forgotten."""
    flows = [flow for family in Family for flow in flows_of(family)[0]]
    track(namespace, flows)
    frontends = {Family.IPV6: STAND_IN[Family.IPV6]}
    assert await ConnectionTracking(netlink).forget(frontends=frontends, port=PORT, keep=()) == 2
    assert tracked(namespace, flows) == flows_of(Family.IPV4)[0]


async def test_hundreds_are_forgotten_at_once(namespace: Namespace, netlink: Netlink) -> None:
    """A server's death on a busy node ends hundreds of connections, of which none may stay."""
    flows = [Flow(Family.IPV4, 20000 + number, STAND_IN[Family.IPV4], PORT, GONE[Family.IPV4]) for number in range(300)]
    track(namespace, flows)
    assert await ConnectionTracking(netlink).forget(frontends=STAND_IN, port=PORT, keep=()) == 300
    assert tracked(namespace, flows) == []


async def test_without_the_capability_the_message_names_it(namespace: Namespace) -> None:
    """Without NET_ADMIN the refusal says which capability is missing."""
    async with Netlink(enter=without_net_admin(namespace)) as netlink:
        with pytest.raises(NetlinkRefused, match="NET_ADMIN"):
            await ConnectionTracking(netlink).forget(frontends=STAND_IN, port=PORT, keep=())


def without_net_admin(namespace: Namespace) -> Callable[[], None]:
    """What a thread enters the namespace with."""

    def enter() -> None:
        namespace.enter()
        drop_net_admin()

    return enter


async def test_connections_that_are_over_are_left_to_expire(lab: NodeLab) -> None:
    """A pod that connects as fast as it can leaves thousands: only those with a client behind them are looked for."""
    ruled = RuledLab(lab, Mode.ENDPOINTS)
    await ruled.install([lab.server("one")])
    pod = lab.pod("a")
    async with (
        attempting(pod, METADATA_IPV4, 80, most=2_000) as attempts,
        Netlink(enter=lab.node.namespace.enter) as netlink,
    ):
        await attempts.until(2_000)
        with closing(await pod.keep(METADATA_IPV4, 80)) as kept:
            assert (await kept.ask()).by == "one"
            await ruled.change([lab.server("two")])
            keep = [Address(lab.server("two").ipv4)]
            assert await ConnectionTracking(netlink).forget(frontends=STAND_IN, port=PORT, keep=keep) == 1
            assert (await kept.ask()).refused
