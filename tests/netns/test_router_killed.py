"""The running router killed while it changes the kernel: at moments of chance, and in the middle of a change."""

import asyncio
import os
import random
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from iam4kube.sandbox.network import METADATA_IPV4
from ip2service.kernel.nft import NfTables
from ip2service.layout import Family
from ip2service.ruleset import GUARD_TABLE, ROUTING_TABLE, Elements, guard_table, routing_table, wanted_elements
from tests.support.node_lab import LabHost, LabServer
from tests.support.node_lab_attempts import attempting
from tests.support.node_lab_rules import arrivals_of_pods
from tests.support.router_lab import RouterLab, endpoints_of
from tests.support.router_process import RouterProcess
from tests.support.ruled_lab import RuledLab

pytestmark = pytest.mark.netns

KILLS = 4
MOST_SECONDS = 0.5
"""From a process' start to its end by chance: it is killed while it starts, and while it runs."""
FLAP_SECONDS = 0.03
NETFILTER, NFTABLES_GROUP = 12, 1 << (7 - 1)  # linux/netlink.h; NFNLGRP_NFTABLES, linux/netfilter/nfnetlink.h


@pytest.mark.timeout(120)  # eight starts beside a pod that takes all of a processor: 12 s on a busy machine
async def test_r20_a_killed_router_leaves_no_partial_state(routed: RouterLab) -> None:
    """While endpoints change, again and again: the kernel has the whole of some state, and nothing gets through."""
    lab, chance = routed.lab, random.Random(20)
    one, two = lab.server("one"), lab.server("two")
    await routed.serve(one)
    async with routed.router() as router:
        await router.until_ready()
        async with flapping(routed), attempting(lab.pod("a"), METADATA_IPV4, 80, at_once=1) as attempts:
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0, MOST_SECONDS))
                await router.kill()
                await assert_whole(routed)
                await router.start()
                await kill_amid_a_change(router, lab.node)
                await assert_whole(routed)
                await router.start()
        assert set(attempts.answers) <= {"one", "two"}
        await router.until_ready()
        await routed.change(two)
        await routed.until_answered(METADATA_IPV4, by="two")
        assert await router.metric("ip2service_reconciliation_failures_total") == 0
    assert not await arrivals_of_pods(lab)


def states(routed: RouterLab) -> list[tuple[LabServer, ...]]:
    """The servers that are ready, one state after the other."""
    one, two = routed.lab.server("one"), routed.lab.server("two")
    return [(one,), (), (one, two), (two,)]


@asynccontextmanager
async def flapping(routed: RouterLab) -> AsyncIterator[None]:
    """Endpoints come and go until the block ends."""

    async def flap() -> None:
        while True:
            for servers in states(routed):
                await routed.set_endpoints(*(endpoint for server in servers for endpoint in endpoints_of(server)))
                await asyncio.sleep(FLAP_SECONDS)

    task = asyncio.create_task(flap())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def kill_amid_a_change(router: RouterProcess, node: LabHost) -> None:
    """Kill it as soon as the kernel tells of a change: before it has made another one that would belong to it."""
    await router.until_logged("Listening")
    pid = router.pid

    def wait_and_kill() -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as notices:
            notices.settimeout(10.0)
            notices.bind((0, NFTABLES_GROUP))
            notices.recv(1 << 16)
            os.kill(pid, signal.SIGKILL)

    await asyncio.to_thread(node.namespace.run, wait_and_kill)
    assert await router.exit_code() == -signal.SIGKILL


async def assert_whole(routed: RouterLab) -> None:
    """Both tables are as they were written, and each family's maps and sets hold one of the states."""
    ruled = RuledLab(routed.lab, routed.mode)
    async with NfTables(enter=routed.lab.node.namespace.enter) as tables:
        guard, routing = await tables.read(GUARD_TABLE), await tables.read(ROUTING_TABLE)
    assert guard is not None
    assert routing is not None
    assert guard.structure == guard_table(ruled.layout)
    assert routing.structure == routing_table(ruled.layout)
    wholes = [wanted_elements(ruled.layout, ruled.contents(servers, gate=bool(servers))) for servers in states(routed)]
    found = {**guard.elements, **routing.elements}
    for family in Family:
        assert of_family(found, family) in [of_family(whole, family) for whole in wholes]


def of_family(elements: Elements, family: Family) -> Mapping[str, Mapping[str, str]]:
    """What the maps and sets of one family hold."""
    return {name: keys for name, keys in elements.items() if name.endswith(str(family.value))}
