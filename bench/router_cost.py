"""What the rules cost a pod: the same requests to the same bare application, on ways with ever more rules.

    no rules        to the server's address, over a node without nftables and connection tracking
    any Service     to a cluster IP that a stand-in for kube-proxy translates, without the router
    service mode    to 169.254.169.254, through the router's rules and then that stand-in's
    endpoints mode  to 169.254.169.254, through the router's rules alone

Each way has a node and a server of its own. They take turns, and ratios are those of turns of one round, of which the
median counts: whatever else the machine does meanwhile, it does to each of them.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.figures import Figure, percentile
from bench.load import wrk
from bench.processes import SERVER_CORE
from bench.router_bare import bare
from iam4kube.sandbox.network import METADATA_IPV4, Namespace
from ip2service.layout import Family, Mode
from tests.support.node_lab import SERVER_PORT, LabServer, NodeLab
from tests.support.router_process import ROUTER_PORT
from tests.support.ruled_lab import CLUSTER_IPS, RuledLab

_REFERENCE = "no rules"
_FIELDS = (
    ("requests over 32 connections", "per_second", "/s", 1.0),
    ("one request after the other, p50", "p50", "ms", 1000.0),
    ("one request after the other, p99", "p99", "ms", 1000.0),
)
_CEILING_PORTS = {False: 8182, True: 8183}  # a bare socket that keeps connections, and one that ends them


@dataclass(frozen=True, kw_only=True)
class _Way:
    """From a pod to a server."""

    name: str
    pod: Namespace
    address: str
    port: int


@dataclass(frozen=True)
class _Turn:
    """What came of one turn. Durations in seconds."""

    per_second: float
    p50: float
    p99: float


@dataclass(frozen=True)
class _Round:
    """A turn of each way, by its name, and what the generator gets from a server that does nothing."""

    turns: dict[str, _Turn]
    ceiling: float


async def cost(*, seconds: float, rounds: int, folder: Path) -> list[Figure]:
    """Throughput over 32 connections, and the latency of one request after the other. Needs wrk."""
    async with AsyncExitStack() as stack:
        labs = [await stack.enter_async_context(NodeLab(pods=("a",), servers=())) for _ in range(4)]
        servers = [LabServer(lab.network.add_server("bare")) for lab in labs]
        for index, server in enumerate(servers):
            own = folder / f"way-{index}"
            own.mkdir()
            await stack.enter_async_context(bare("uvicorn", server.host, own, core=SERVER_CORE))
        for closing, port in _CEILING_PORTS.items():
            opening = bare("socket", servers[0].host, folder, core=SERVER_CORE, port=port, closing=closing)
            await stack.enter_async_context(opening)
        ways = await _ways(labs, servers)
        figures: list[Figure] = []
        for closing in (False, True):
            taken = [await _round(ways, closing=closing, seconds=seconds) for _ in range(rounds)]
            figures += _figures("a new connection each" if closing else "keep-alive", taken)
        return figures


async def _ways(labs: Sequence[NodeLab], servers: Sequence[LabServer]) -> list[_Way]:
    _, translated, service, endpoints = labs
    await RuledLab(translated, Mode.SERVICE).proxy([servers[1]])
    for lab, server, mode in ((service, servers[2], Mode.SERVICE), (endpoints, servers[3], Mode.ENDPOINTS)):
        ruled = RuledLab(lab, mode)
        await ruled.install([server])
        await ruled.protect_by_policy()
    targets = {
        _REFERENCE: (servers[0].ipv4, SERVER_PORT),
        "any Service": (CLUSTER_IPS[Family.IPV4], ROUTER_PORT),
        "service mode": (METADATA_IPV4, 80),
        "endpoints mode": (METADATA_IPV4, 80),
    }
    return [
        _Way(name=name, pod=lab.pod("a").namespace, address=address, port=port)
        for lab, (name, (address, port)) in zip(labs, targets.items(), strict=True)
    ]


async def _round(ways: Sequence[_Way], *, closing: bool, seconds: float) -> _Round:
    turns = {way.name: await _turn(way, closing=closing, seconds=seconds) for way in ways}
    direct = ways[0]
    port = _CEILING_PORTS[closing]
    ceiling = await _saturate(direct.pod, direct.address, port, closing=closing, seconds=seconds)
    return _Round(turns, ceiling)


async def _turn(way: _Way, *, closing: bool, seconds: float) -> _Turn:
    rate = await _saturate(way.pod, way.address, way.port, closing=closing, seconds=seconds)
    durations = await _one_after_the_other(way, closing=closing, seconds=max(1.0, seconds / 2))
    return _Turn(rate, percentile(durations, 0.5), percentile(durations, 0.99))


async def _saturate(pod: Namespace, address: str, port: int, *, closing: bool, seconds: float) -> float:
    headers = ["Connection: close"] if closing else []
    return (await wrk(f"http://{address}:{port}/", headers, seconds=seconds, namespace=pod)).per_second


async def _one_after_the_other(way: _Way, *, closing: bool, seconds: float) -> list[float]:
    kind = "close" if closing else "keep-alive"
    asker = (sys.executable, "-m", "bench.router_asker", way.address, str(way.port), kind, str(seconds))
    child = await asyncio.create_subprocess_exec(*way.pod.command(*asker), stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    durations: list[float] = json.loads(output) if child.returncode == 0 else []
    if not durations:
        raise RuntimeError(f"nothing was answered on the way with {way.name}")
    return durations


def _figures(kind: str, rounds: Sequence[_Round]) -> Iterator[Figure]:
    for figure, field, unit, scale in _FIELDS:
        for name in rounds[0].turns:
            values = [getattr(each.turns[name], field) for each in rounds]
            yield Figure(name=f"{kind}, {name}: {figure}", value=scale * median(values), unit=unit)
            if name != _REFERENCE:
                references = [getattr(each.turns[_REFERENCE], field) for each in rounds]
                ratio = median(value / reference for value, reference in zip(values, references, strict=True))
                yield Figure(name=f"{kind}, {name}: {figure}, ratio to {_REFERENCE}", value=ratio)
    ceiling = median(each.ceiling for each in rounds)
    yield Figure(name=f"{kind}, {_REFERENCE}: load generator's ceiling (bare socket)", value=ceiling, unit="/s")
