"""Credentials that are in hand: how fast they are answered, and what share of a bare application that is."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from bench.client import CREDENTIALS, ask, request_bytes
from bench.cluster import Cluster
from bench.figures import Figure, milliseconds
from bench.load import LOOPBACK, Asker, at_rate, saturate
from bench.processes import SERVER_CORE, free_port, process, processor_seconds
from bench.server import Server
from bench.waiting import until_listening

RATE = 1500.0
"""Requests per second: a cold start of the largest supported cluster."""
_ROLES = 50
_PODS_OF_A_ROLE = 4
_ROUNDS = 3
_BARS = {"keep-alive": (0.6, 20_000.0), "a new connection each": (0.9, 8_400.0)}
"""Share of a bare server, and requests per second."""


async def populate(cluster: Cluster) -> None:
    """Fifty roles with four pods each, and a pod at 127.0.0.1 for the load generator."""
    await cluster.prepare()
    for number in range(_ROLES):
        await cluster.create_account(f"warm-{number}", _role(number))
        for pod in range(_PODS_OF_A_ROLE):
            name = f"warm-{number}-{pod}"
            await cluster.create_pod(name, account=f"warm-{number}")
            await cluster.give_addresses(name, [_address(number, pod)])
    await cluster.create_pod("warm-load", account="warm-0")
    await cluster.give_addresses("warm-load", [LOOPBACK])


async def latency(server: Server, *, seconds: float) -> list[Figure]:
    """At the rate of a cold start, each request with a token and on a new connection."""
    askers = [await _asker(server, number, pod) for number in range(_ROLES) for pod in range(_PODS_OF_A_ROLE)]
    durations = await at_rate(server.port, askers, per_second=RATE, seconds=seconds)
    return milliseconds(f"at {RATE:,.0f} requests/s, a new connection each", durations, p99=10.0)


async def throughput(server: Server, *, keep_alive: bool, seconds: float, folder: Path) -> list[Figure]:
    """With 32 connections of one pod, beside what answers with the same bytes without any work.

    All three take turns of `seconds` each, and the median counts: whatever else the machine does meanwhile, it does to
    each of them. The share by processor time is what the share of throughput would be if it did nothing else.
    """
    asker = await _asker(server, 0, source=LOOPBACK, close=not keep_alive)
    answer = folder / "answer"
    answer.write_bytes((await ask(server.port, asker.request, source=LOOPBACK)).content)
    turns = _Turns(asker.request, seconds)
    async with _bare("uvicorn", answer) as uvicorn, _bare("socket", answer) as bare_socket:
        measured = (_Target(server.process.pid, server.port), uvicorn, bare_socket)
        rounds = [[await turns.take(target) for target in measured] for _ in range(_ROUNDS)]
    ours, bare, ceiling = zip(*rounds, strict=True)
    return list(_figures("keep-alive" if keep_alive else "a new connection each", ours, bare, ceiling))


@dataclass(frozen=True)
class _Target:
    """A process under load."""

    pid: int
    port: int


@dataclass(frozen=True)
class _Turn:
    """What one turn of load came to. Times in seconds."""

    per_second: float
    p99: float
    processor_time: float
    """Of the process under load, for each request."""


@dataclass(frozen=True)
class _Turns:
    request: bytes
    seconds: float

    async def take(self, target: _Target) -> _Turn:
        used, started = processor_seconds(target.pid), perf_counter()
        throughput = await saturate(target.port, self.request, seconds=self.seconds)
        requests = throughput.per_second * (perf_counter() - started)
        return _Turn(throughput.per_second, throughput.p99, (processor_seconds(target.pid) - used) / requests)


def _figures(kind: str, ours: Sequence[_Turn], bare: Sequence[_Turn], ceiling: Sequence[_Turn]) -> Iterator[Figure]:
    share_bar, rate_bar = _BARS[kind]
    pairs = list(zip(ours, bare, strict=True))
    share = median(mine.per_second / theirs.per_second for mine, theirs in pairs)
    by_time = median(theirs.processor_time / mine.processor_time for mine, theirs in pairs)
    bare_rate = median(turn.per_second for turn in bare)
    yield Figure(name=f"{kind}: share of bare uvicorn", value=share, bar=share_bar, better="higher")
    yield Figure(name=f"{kind}: share by processor time", value=by_time, bar=share_bar, better="higher")
    yield Figure(
        name=f"{kind}: iam4kube",
        value=median(turn.per_second for turn in ours),
        unit="/s",
        # On a machine on which even a bare server does not get so far, the bar says nothing about ours.
        bar=rate_bar if bare_rate > rate_bar / share_bar else None,
        better="higher",
    )
    yield Figure(name=f"{kind}: iam4kube, p99", value=1000 * median(turn.p99 for turn in ours), unit="ms")
    yield Figure(name=f"{kind}: bare uvicorn", value=bare_rate, unit="/s")
    most = median(turn.per_second for turn in ceiling)
    yield Figure(name=f"{kind}: load generator's ceiling (bare socket)", value=most, unit="/s")


@asynccontextmanager
async def _bare(kind: str, answer: Path) -> AsyncIterator[_Target]:
    """A process that gives this answer to whatever is asked."""
    port, log = free_port(), answer.with_name(f"{kind}.log")
    async with process(["bench.bare", kind, str(port), str(answer)], core=SERVER_CORE, log=log) as child:
        await until_listening(port)
        yield _Target(child.pid, port)


async def _asker(server: Server, role: int, pod: int = 0, *, source: str = "", close: bool = False) -> Asker:
    source = source or _address(role, pod)
    token = await server.token(source)
    path = f"{CREDENTIALS}warm-role-{role}"
    return Asker(source, request_bytes(path, {"X-aws-ec2-metadata-token": token}, close=close))


def _address(role: int, pod: int) -> str:
    return f"127.1.{role}.{pod + 1}"


def _role(number: int) -> str:
    return f"arn:aws:iam::111122223333:role/bench/warm-role-{number}"
