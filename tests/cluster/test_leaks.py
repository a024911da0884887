"""The leak test that counts: pods try all the time while everything that can happen to a router happens.

The numbers are in the summary at the end of the run.
"""

import asyncio
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest

from ip2service.boot import RULES_FILE
from ip2service.ruleset import GUARD_TABLE, ROUTING_TABLE, removal
from tests.support.controlplane import ControlPlane
from tests.support.node_lab import NodeLab
from tests.support.real_router_lab import DATA_PLANES, Running, running_node
from tests.support.router_leaks import Trials, trying
from tests.support.router_process import run_command
from tests.support.waiting import eventually

pytestmark = [pytest.mark.netns, pytest.mark.cluster]

ATTEMPTS = 102_000
"""In each of the three data planes."""
AT_ONCE = 0.99
"""The share of attempts that hear an answer or a refusal within 0.3 s: on a busy machine it is not quite all."""
FLAP_PAUSE = 0.02  # seconds

Trouble = Callable[[Running, Trials], Awaitable[None]]


@pytest.mark.timeout(180)  # 20 s on an idle machine
@pytest.mark.parametrize("data_plane", DATA_PLANES)
async def test_nothing_reaches_the_real_service_whatever_happens_to_the_router(
    control_plane: ControlPlane, data_plane: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Not one packet, of any protocol, in either family; and pods are served again after each of the troubles."""
    async with (
        NodeLab() as lab,
        running_node(lab, control_plane, DATA_PLANES[data_plane], folder=tmp_path) as running,
        trying(lab) as trials,
    ):
        for trouble in TROUBLES:
            async with trials.meanwhile(trouble.__name__.replace("_", " ")):
                await trouble(running, trials)
                await settle(running)
        async with trials.meanwhile("and servers come and go"), flapping(running):
            await trials.more(max(1_000, (ATTEMPTS - trials.sum["attempts"]) // 2))
        tell(trials.table(f"kube-proxy: {data_plane}"))
        assert not trials.sum["leaked"]
        assert not await lab.arrivals()
        assert trials.sum["attempts"] >= ATTEMPTS
        assert trials.sum["served"] > ATTEMPTS / 20, "hardly anything was routed: nothing is proved"
        changing = trials.rows["servers come and go"]
        assert changing["served"] + changing["refused"] > changing["attempts"] * AT_ONCE


async def servers_come_and_go(running: Running, trials: Trials) -> None:
    """To none and back, many times a second."""
    async with flapping(running):
        await trials.more(10_000)


async def the_router_is_killed(running: Running, trials: Trials) -> None:
    """At any moment, while it starts too."""
    async with flapping(running):
        await running.router.kill()
        await trials.more(2_000)
        await running.router.start()
        await trials.more(500)
        await running.router.restart()
        await running.router.until_logged("Guards are in place")
        await running.router.restart()
        await running.router.until_ready()


async def its_routing_table_is_deleted(running: Running, trials: Trials) -> None:
    """With the router there to mend it, and without."""
    async with flapping(running):
        for _ in range(5):
            await load(running, removal([ROUTING_TABLE]))
            await until_mended(running)
            await trials.more(100)
        await running.router.kill()
        await load(running, removal([ROUTING_TABLE]))
        await trials.more(1_000)
        await running.router.start()
        await running.router.until_ready()


async def its_guard_is_deleted(running: Running, trials: Trials) -> None:
    """By hand and alone: what is routed is routed on, and policy routing refuses everything else until it is mended."""
    async with flapping(running):
        for _ in range(5):
            await load(running, removal([GUARD_TABLE]))
            await until_mended(running)
            await trials.more(100)
        await running.router.kill()
        await load(running, removal([GUARD_TABLE]))
        await trials.more(100)
        await running.router.start()
        await running.router.until_ready()


async def all_rules_are_flushed(running: Running, trials: Trials) -> None:
    """By another program; kube-proxy's rules go, too, and it has to be started again."""
    async with flapping(running):
        for _ in range(5):
            await load(running, "flush ruleset")
            await until_mended(running)
            await trials.more(100)
        await running.router.kill()
        await load(running, "flush ruleset")
        await trials.more(20)  # policy routing refuses: silence in IPv4, a second in IPv6
        await running.router.start()
        await running.router.until_ready()
    if running.proxy is not None:
        await running.proxy.kill()
        await running.proxy.start()


async def the_service_is_made_anew(running: Running, trials: Trials) -> None:
    """With another cluster IP each time."""
    for _ in range(2):
        await running.real.delete_service()
        await trials.more(500)
        await running.real.serve(running.lab.server("two"))
        await running.real.until_answered(by="two")
        await trials.more(500)


async def the_api_server_hangs(running: Running, trials: Trials) -> None:
    """And the router is killed meanwhile: it goes on with what it finds in the kernel."""
    control_plane = running.real.cluster.control_plane
    control_plane.pause_api_server()
    try:
        await trials.more(500)
        await running.router.restart()
        await running.router.until_logged("Guards are in place")
        await trials.more(1_000)
    finally:
        control_plane.resume_api_server()


async def the_api_server_is_down(running: Running, trials: Trials) -> None:
    """And the routing table is deleted meanwhile: the router puts back what it knows."""
    control_plane = running.real.cluster.control_plane
    await running.router.until_ready()
    await asyncio.to_thread(control_plane.kill_api_server)
    try:
        await trials.more(500)
        await load(running, removal([ROUTING_TABLE]))
        await until_mended(running)
        await running.real.until_answered(by="one")
        await running.router.restart()
        await running.router.until_logged("Guards are in place")
        await running.real.until_answered(by="one")
        await trials.more(500)
    finally:
        await asyncio.to_thread(control_plane.start_api_server)


TROUBLES: list[Trouble] = [
    servers_come_and_go,
    the_router_is_killed,
    its_routing_table_is_deleted,
    its_guard_is_deleted,
    all_rules_are_flushed,
    the_service_is_made_anew,
    the_api_server_hangs,
    the_api_server_is_down,
]


@asynccontextmanager
async def flapping(running: Running) -> AsyncIterator[None]:
    """Servers come and go during the block."""
    ended = asyncio.Event()

    async def flap() -> None:
        one, two = running.lab.server("one"), running.lab.server("two")
        for servers in cycle(((one,), (), (two,), (one, two), ())):
            if ended.is_set():
                return
            await running.real.change(*servers)
            await asyncio.sleep(FLAP_PAUSE)

    task = asyncio.create_task(flap(), name="flapping")
    try:
        yield
    finally:
        ended.set()
        await task


async def settle(running: Running) -> None:
    """Wait until the router is ready and pods are served by server one."""
    await running.router.until_ready()
    await running.real.change(running.lab.server("one"))
    await running.real.until_answered(by="one")


async def load(running: Running, text: str) -> None:
    """Run one nftables transaction in the node, as any other program could."""
    await running.lab.node.command("nft", "-f", "-", text=text)


async def until_mended(running: Running) -> None:
    """Wait until both tables are there."""

    async def both_are_there() -> bool:
        tables = await running.lab.node.command("nft", "list", "tables", "inet")
        return {f"table inet {GUARD_TABLE}", f"table inet {ROUTING_TABLE}"} <= set(tables.splitlines())

    await eventually(both_are_there)


async def test_the_same_attempts_without_rules_do_reach_the_real_service() -> None:
    """So that none means something: all of them, in both families, on every port and by every protocol."""
    async with NodeLab() as lab, trying(lab) as trials:
        async with trials.meanwhile("no rules"):
            await trials.more(1_000)
        assert trials.sum["leaked"] == trials.sum["attempts"]
        assert trials.sum["packets there"] > trials.sum["attempts"]
        a, b, c = map(lab.pod, "abc")
        assert set(await lab.arrivals()) == {a.ipv4, b.ipv6, c.ipv4, c.ipv6}


@pytest.mark.parametrize("data_plane", ["nftables", "no-proxy"])
async def test_r21_nothing_reaches_the_real_service_after_a_reboot(
    control_plane: ControlPlane, data_plane: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """The boot rules come first, then pods, then the router, which leaves the guard as it is and serves them."""
    async with NodeLab(pods=()) as lab:
        await boot(lab, tmp_path)
        for name in "abc":
            lab.add_pod(name)
        async with trying(lab) as trials:
            async with trials.meanwhile("before the router"):
                await trials.more(5_000)
            assert trials.sum["refused"] > trials.sum["attempts"] * AT_ONCE
            assert not trials.sum["served"]
            guard = await guard_of(lab)
            async with trials.meanwhile("while the router starts"), AsyncExitStack() as stack:
                node = running_node(lab, control_plane, DATA_PLANES[data_plane], folder=tmp_path)
                running = await stack.enter_async_context(node)
                await trials.more(1_000)
                assert await guard_of(lab) == guard
                assert 'comment "ip2service guard 1 boot"' in guard
                assert (await run_command(lab.node, "check", f"--mode={running.real.data_plane.mode.value}")).code == 0
            tell(trials.table(f"reboot, kube-proxy: {data_plane}"))
        assert trials.sum["served"]
        assert not await lab.arrivals()


async def boot(lab: NodeLab, folder: Path) -> None:
    """What the unit of the boot rules does, command by command."""
    rules, unit = [
        await run_command(lab.node, "boot-rules"),
        await run_command(lab.node, "boot-rules", "--systemd-unit"),
    ]
    file = folder / "boot-rules.nft"
    file.write_text(rules.output)
    commands = [line.removeprefix("ExecStart=") for line in unit.output.splitlines() if line.startswith("ExecStart=")]
    assert commands
    for command in commands:
        await lab.node.command(*shlex.split(command.replace(RULES_FILE, str(file))))


async def guard_of(lab: NodeLab) -> str:
    """The guard's table with its handles: whatever is made anew has another."""
    return await lab.node.command("nft", "--stateless", "--handle", "list", "table", "inet", GUARD_TABLE)


async def test_r21_without_boot_rules_pods_reach_the_real_service_until_the_router_has_started(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """It is what the boot rules are for. From the router's first moment on nothing does."""
    async with NodeLab() as lab, trying(lab) as trials:
        async with trials.meanwhile("before the router"):
            await trials.more(1_000)
        assert trials.sum["leaked"] == trials.sum["attempts"]
        async with running_node(lab, control_plane, DATA_PLANES["no-proxy"], folder=tmp_path):
            before = await lab.arrivals()
            await trials.more(1_000)
            assert await lab.arrivals() == before
