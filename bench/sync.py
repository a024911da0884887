"""The largest supported cluster: how long until every pod is known, in how much memory, and who waits meanwhile."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import msgspec

from bench.client import ask
from bench.figures import Figure
from bench.processes import OTHER_CORE, free_port, main_thread_seconds, process, resident_mebibytes
from bench.server import GET_TOKEN, Server, serving
from bench.waiting import until_listening

PODS, ACCOUNTS, NODES = 150_000, 10_000, 5_000

_LOOPBACK = "127.0.0.1"
_PROBE_PAUSE = 0.001
_POLL_SECONDS = 0.1
_BOUND = 120.0


class _Wait(NamedTuple):
    """A request for a token. On a machine that is busy otherwise, only the second says what the server did."""

    seconds: float
    processor_time: float
    """That the event loop used meanwhile, in seconds: it is what such a wait takes on an idle machine."""


async def sync(*, share: float, environ: Mapping[str, str], folder: Path) -> list[Figure]:
    """List a cluster of this share of the largest one's size. The bars hold for the whole of it."""
    pods, accounts, nodes = (round(share * size) for size in (PODS, ACCOUNTS, NODES))
    port = free_port()
    arguments = ["bench.bulk_api", *map(str, (port, pods, accounts, nodes))]
    async with process(arguments, core=OTHER_CORE, log=folder / "bulk_api.log"):
        await until_listening(port)
        kubeconfig = _kubeconfig(folder / "bulk-kubeconfig", port)
        async with serving(kubeconfig=str(kubeconfig), environ=environ, folder=folder) as server:
            await until_listening(server.port)
            seconds, waits = await _watch_it_sync(server)
            now, most = resident_mebibytes(server.process.pid)
    whole = share >= 1
    title = f"{pods:,} pods, {accounts:,} ServiceAccounts, {nodes:,} nodes"
    return [
        Figure(name=f"{title}: synced in", value=seconds, unit="s", bar=15.0 if whole else None),
        Figure(name="resident memory then", value=now, unit="MiB", bar=220.0 if whole else None),
        Figure(name="resident memory, at most", value=most, unit="MiB"),
        Figure(name="longest wait for a token meanwhile", value=1000 * max(waits).seconds, unit="ms", bar=20.0),
        Figure(
            name="most processor time of the event loop in such a wait",
            value=1000 * max(wait.processor_time for wait in waits),
            unit="ms",
            bar=20.0,
        ),
    ]


async def _watch_it_sync(server: Server) -> tuple[float, list[_Wait]]:
    """Seconds until all watches are synced, and how long requests for a token waited meanwhile.

    A token needs neither Kubernetes nor STS: what it waits for is the event loop.
    """
    started, waits = perf_counter(), [_Wait(0.0, 0.0)]
    probing = asyncio.create_task(_probe(server, waits))
    try:
        async with asyncio.timeout(_BOUND):
            while not await server.watches_synced():  # noqa: ASYNC110  # another process's state
                await asyncio.sleep(_POLL_SECONDS)
        return perf_counter() - started, waits
    finally:
        probing.cancel()


async def _probe(server: Server, waits: list[_Wait]) -> None:
    pid = server.process.pid
    while True:
        asked, used = perf_counter(), main_thread_seconds(pid)
        await ask(server.port, GET_TOKEN, source=_LOOPBACK)
        waits.append(_Wait(perf_counter() - asked, main_thread_seconds(pid) - used))
        await asyncio.sleep(_PROBE_PAUSE)


def _kubeconfig(path: Path, port: int) -> Path:
    named = {"name": "bulk"}
    path.write_bytes(
        msgspec.json.encode(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [named | {"cluster": {"server": f"http://{_LOOPBACK}:{port}"}}],
                "users": [named | {"user": {}}],
                "contexts": [named | {"context": {"cluster": "bulk", "user": "bulk"}}],
                "current-context": "bulk",
            }
        )
    )
    return path
