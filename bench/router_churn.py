"""5,000 changes of an EndpointSlice in a minute, with a client in a pod that must not notice.

An endpoint is replaced each time; the last ones stay as terminating for half a second, as pods do for longer. The
client's kept connections are those to endpoints that stay: the router ends connections to those that have gone.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.figures import Figure, spread
from bench.processes import OTHER_CORE, first_line, process, processor_seconds, resident_mebibytes
from bench.router_node import RoutedNode
from iam4kube.sandbox.network import METADATA_IPV4

CHANGES, SECONDS = 5_000, 60.0
_KEPT, _NEW_PER_SECOND = 8, 50
_TRANSACTIONS = 'ip2service_kernel_call_seconds_count{call="apply"}'
_NOTICE_SECONDS = 0.05


@dataclass(frozen=True)
class _Used:
    """What the router has used so far, and what it has done."""

    processor_seconds: float
    mebibytes: float
    transactions: float


async def churn(node: RoutedNode, *, seconds: float, folder: Path) -> list[Figure]:
    """Make changes at the rate of 5,000 a minute for this long, in endpoints mode."""
    count = round(CHANGES / SECONDS * seconds)
    async with _client(node, folder) as lost:
        before, started, told = await _used(node), perf_counter(), len(node.notices.reports)
        numbers = await _changes(node, count, seconds=seconds)
        lasted, after = perf_counter() - started, await _used(node)
    delays = _delays(numbers, node.cluster.left, node.notices.reports[told:])
    used = after.processor_seconds - before.processor_seconds
    transactions = after.transactions - before.transactions
    if not transactions:
        raise RuntimeError("the router made no transaction")
    name = f"{count:,} changes in {lasted:.1f} s"
    return [
        Figure(name=f"{name}: the router's processor time", value=used, unit="s"),
        Figure(name=f"{name}: the same as a share of a core", value=used / lasted),
        Figure(name=f"{name}: transactions", value=transactions),
        Figure(name=f"{name}: changes in a transaction", value=len(numbers) / transactions),
        *spread(f"{name}: to the kernel's map, by that change or a later one", delays),
        Figure(name="resident memory before, with nothing to do", value=before.mebibytes, unit="MiB"),
        Figure(name="resident memory after", value=after.mebibytes, unit="MiB"),
        Figure(name="resident memory, at most", value=resident_mebibytes(node.router.pid)[1], unit="MiB"),
        Figure(name="connections that the node tracks then", value=await _tracked(node)),
        *lost,
    ]


async def _changes(node: RoutedNode, count: int, *, seconds: float) -> list[int]:
    """The changes' numbers, once the last one is in the kernel."""
    numbers = [node.cluster.new_number() for _ in range(count)]
    seen, started = node.notices.expected(str(numbers[-1])), perf_counter()
    for index, number in enumerate(numbers):
        await asyncio.sleep(max(0.0, started + seconds * index / count - perf_counter()))
        await node.cluster.replace(number)
    await node.arrival(seen)
    await asyncio.sleep(_NOTICE_SECONDS)  # for what the router does after a transaction
    return numbers


def _delays(numbers: Sequence[int], left: dict[int, float], reports: Sequence[tuple[float, str]]) -> list[float]:
    """Of each change: until the kernel had its state, or a later one."""
    arrivals = [(time, int(word)) for time, word in reports if word.isdigit()]
    delays, place = [], 0
    for number in numbers:
        while arrivals[place][1] < number:
            place += 1
        delays.append(max(0.0, arrivals[place][0] - left[number]))
    return delays


async def _used(node: RoutedNode) -> _Used:
    pid = node.router.pid
    return _Used(processor_seconds(pid), resident_mebibytes(pid)[0], await node.router.metric(_TRANSACTIONS))


async def _tracked(node: RoutedNode) -> int:
    """Those of the last two minutes: what the router looks through when an endpoint is gone."""
    return int(await node.lab.node.command("cat", "/proc/sys/net/netfilter/nf_conntrack_count"))


@asynccontextmanager
async def _client(node: RoutedNode, folder: Path) -> AsyncIterator[list[Figure]]:
    """A client in the pod while the block runs; after it, the list has what came of its connections."""
    figures: list[Figure] = []
    log = folder / "steady.log"
    pod = node.lab.pod("a").namespace
    arguments = ["bench.router_asker", METADATA_IPV4, "80", "steady", str(_KEPT), str(_NEW_PER_SECOND)]
    async with process(arguments, core=OTHER_CORE, log=log, namespace=pod) as child:
        await first_line(child, log)
        yield figures
        child.terminate()
        counts: Any = await first_line(child, log)
    if not counts["asked"] or not counts["connected"]:
        raise RuntimeError(f"the client in the pod did nothing: {json.dumps(counts)}")
    connections = _KEPT + counts["connected"]
    what = f"of a client's {connections:,} connections ({_KEPT} kept, {counts['asked']:,} requests), lost"
    figures.append(Figure(name=what, value=counts["lost"], bar=0))
