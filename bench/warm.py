"""Credentials that are in hand: how fast they are answered, and what share of a bare application that is."""

from pathlib import Path

from bench.client import CREDENTIALS, ask, request_bytes
from bench.cluster import Cluster
from bench.figures import Figure, milliseconds
from bench.load import LOOPBACK, Asker, at_rate, saturate
from bench.processes import SERVER_CORE, free_port, process
from bench.server import Server
from bench.waiting import until_listening

RATE = 1500.0
"""Requests per second: a cold start of the largest supported cluster."""
_ROLES = 50
_PODS_OF_A_ROLE = 4


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
    """With 32 connections of one pod, beside what answers with the same bytes without any work."""
    asker = await _asker(server, 0, source=LOOPBACK, close=not keep_alive)
    ours = await saturate(server.port, asker.request, seconds=seconds)
    answer = folder / "answer"
    answer.write_bytes((await ask(server.port, asker.request, source=LOOPBACK)).content)
    bare = await _of_bare("uvicorn", answer, asker.request, seconds=seconds)
    ceiling = await _of_bare("socket", answer, asker.request, seconds=seconds / 2)
    kind = "keep-alive" if keep_alive else "a new connection each"
    return [
        Figure(
            name=f"{kind}: share of bare uvicorn",
            value=ours.per_second / bare,
            bar=0.6 if keep_alive else 0.9,
            better="higher",
        ),
        Figure(name=f"{kind}: iam4kube", value=ours.per_second, unit="/s", bar=_bar(keep_alive), better="higher"),
        Figure(name=f"{kind}: iam4kube, p99 of 32 connections", value=1000 * ours.p99, unit="ms"),
        Figure(name=f"{kind}: bare uvicorn", value=bare, unit="/s"),
        Figure(name=f"{kind}: load generator's ceiling (bare socket)", value=ceiling, unit="/s"),
    ]


def _bar(keep_alive: bool) -> float:
    return 20_000.0 if keep_alive else 8_400.0


async def _of_bare(kind: str, answer: Path, request: bytes, *, seconds: float) -> float:
    port = free_port()
    log = answer.with_name(f"{kind}.log")
    async with process(["bench.bare", kind, str(port), str(answer)], core=SERVER_CORE, log=log):
        await until_listening(port)
        return (await saturate(port, request, seconds=seconds)).per_second


async def _asker(server: Server, role: int, pod: int = 0, *, source: str = "", close: bool = False) -> Asker:
    source = source or _address(role, pod)
    token = await server.token(source)
    path = f"{CREDENTIALS}warm-role-{role}"
    return Asker(source, request_bytes(path, {"X-aws-ec2-metadata-token": token}, close=close))


def _address(role: int, pod: int) -> str:
    return f"127.1.{role}.{pod + 1}"


def _role(number: int) -> str:
    return f"arn:aws:iam::111122223333:role/bench/warm-role-{number}"
