"""Load: as much as the server takes (wrk if it is installed, else a generator of our own), or a fixed rate.

Durations are by `perf_counter`: uvloop's own clock moves in steps of a millisecond.
"""

import asyncio
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import cast

from bench.client import Reply, ask, connected
from bench.figures import percentile
from iam4kube.sandbox.network import Namespace

CONNECTIONS = 32
LOOPBACK = "127.0.0.1"

_WRK_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Throughput:
    """What came back from a server that was asked as often as it could answer."""

    per_second: float
    p99: float
    """Seconds."""


def generator() -> str:
    """Which generator is used."""
    return "wrk" if shutil.which("wrk") else "our own asyncio generator (wrk is not installed)"


async def saturate(port: int, request: bytes, *, seconds: float) -> Throughput:
    """Ask over 32 connections for some seconds, each again as soon as it is answered.

    A request that says `Connection: close` makes a new connection each time. Raises `RuntimeError` when an answer is
    anything but a success.
    """
    if shutil.which("wrk"):
        return await _with_wrk(port, request, seconds=seconds)
    return await _with_asyncio(port, request, seconds=seconds)


async def _with_wrk(port: int, request: bytes, *, seconds: float) -> Throughput:
    line, *headers = request.decode().strip().split("\r\n")
    return await wrk(f"http://{LOOPBACK}:{port}{line.split()[1]}", headers, seconds=seconds)


async def wrk(url: str, headers: Sequence[str], *, seconds: float, namespace: Namespace | None = None) -> Throughput:
    """What wrk, in this network namespace or in another, gets over 32 connections. Raises as `saturate`."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency"]
    for header in headers:
        command += ["-H", header]
    command.append(url)
    inside = namespace.command(*command) if namespace else command
    child = await asyncio.create_subprocess_exec(*inside, stdout=asyncio.subprocess.PIPE)
    output = (await child.communicate())[0].decode()
    failed = re.search(r"Non-2xx.*|connect [1-9]\d*,.*|connect \d+, read \d+, write [1-9]\d*.*", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    if failed or rate is None or p99 is None or not float(rate[1]):
        raise RuntimeError(f"wrk: {output}")
    return Throughput(float(rate[1]), float(p99[1]) * _WRK_UNITS[p99[2]])


async def _with_asyncio(port: int, request: bytes, *, seconds: float) -> Throughput:
    reply = await ask(port, request, source=LOOPBACK)
    if reply.status != 200:
        raise RuntimeError(f"the server answers {reply.content[:200]!r}")
    closing = b"\r\nConnection: close\r\n" in request
    run = _Run(port, request, answer_length=len(reply.content), closing=closing)
    started = perf_counter()
    run.until = started + seconds
    async with asyncio.timeout(seconds + 10), asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(run.keep_asking())
    return Throughput(len(run.durations) / (perf_counter() - started), percentile(run.durations, 0.99))


class _Run:
    """What the connections of one run share."""

    def __init__(self, port: int, request: bytes, *, answer_length: int, closing: bool) -> None:
        self.port = port
        self.request = request
        self.answer_length = answer_length
        self.closing = closing
        self.until = 0.0
        self.durations: list[float] = []

    async def keep_asking(self) -> None:
        loop = asyncio.get_running_loop()
        while perf_counter() < self.until:
            started = perf_counter()
            raw = await connected(LOOPBACK, self.port)
            _, asking = await loop.create_connection(partial(_Asking, self, started), sock=raw)
            await asking.ended


class _Asking(asyncio.Protocol):
    """One connection that asks again with each complete answer. All answers have one length, so nothing is parsed."""

    def __init__(self, run: _Run, started: float) -> None:
        self._run = run
        self._started = started
        self._received = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._run.request)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received < self._run.answer_length:
            return
        now = perf_counter()
        self._run.durations.append(now - self._started)
        self._received, self._started = 0, now
        if self._run.closing or now >= self._run.until:
            self._transport.abort()
        else:
            self._transport.write(self._run.request)

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


@dataclass(frozen=True)
class Asker:
    """A source address and what it sends."""

    source: str
    request: bytes


async def at_rate(port: int, askers: list[Asker], *, per_second: float, seconds: float) -> list[float]:
    """Ask at a fixed rate, each request on a new connection, whether or not the ones before are answered.

    Returns the seconds from each connection's first packet to its whole answer. Raises `RuntimeError` when an answer
    is anything but a success.
    """
    started = perf_counter()
    async with asyncio.timeout(seconds + 20), asyncio.TaskGroup() as group:
        tasks = []
        for number in range(int(per_second * seconds)):
            delay = started + number / per_second - perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            tasks.append(group.create_task(_timed(port, askers[number % len(askers)])))
    return [task.result() for task in tasks]


async def _timed(port: int, asker: Asker) -> float:
    started = perf_counter()
    reply: Reply = await ask(port, asker.request, source=asker.source)
    if reply.status != 200:
        raise RuntimeError(f"{asker.source} was answered {reply.content[:200]!r}")
    return perf_counter() - started
