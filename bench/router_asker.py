"""`python -m bench.router_asker ADDRESS PORT keep-alive|close SECONDS`, or `... steady KEPT PER_SECOND`: pods' clients.

The first asks one request after the other, on one connection or on a new one each, and prints how long each took, in
seconds. The second keeps connections and makes new ones at a rate; it prints `"ready"`, and at SIGTERM what came of
them, {"asked", "connected", "lost"}: a connection without its answer within two seconds is lost. All in JSON.
"""

import asyncio
import json
import socket
import sys
from collections import Counter
from time import perf_counter

from bench.client import request_bytes
from iam4kube.runtime.lifecycle import run, stop_on_signals

_PATIENCE = 2.0  # seconds
_KEPT_PAUSE = 0.1  # seconds between two requests of a kept connection


def one_after_the_other(target: tuple[str, int], *, closing: bool, seconds: float) -> list[float]:
    """Blocking, so that as little as possible of the client is measured. Raises `OSError`, `EOFError`."""
    request, durations = request_bytes("/", close=closing), []
    until, connection = perf_counter() + seconds, None
    while (started := perf_counter()) < until:
        if connection is None:
            connection = socket.create_connection(target, _PATIENCE)
        connection.sendall(request)
        _receive(connection)
        if closing:
            connection.close()
            connection = None
        durations.append(perf_counter() - started)
    return durations


def _receive(connection: socket.socket) -> None:
    """A whole answer."""
    head, end, body = b"", b"", b""
    while not end:
        if not (piece := connection.recv(65536)):
            raise EOFError
        head, end, body = (head + piece).partition(b"\r\n\r\n")
    missing = _length(head) - len(body)
    while missing > 0:
        if not (piece := connection.recv(65536)):
            raise EOFError
        missing -= len(piece)


class Steady:
    """Kept connections and new ones, and what came of them."""

    def __init__(self, address: str, port: int) -> None:
        self._target = (address, port)
        self.counts: Counter[str] = Counter(asked=0, connected=0, lost=0)

    async def keep(self, ready: asyncio.Semaphore) -> None:
        """One connection, asked again and again until it is lost."""
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            while await self._answered(reader, writer):
                ready.release()
                await asyncio.sleep(_KEPT_PAUSE)
        finally:
            writer.close()

    async def connect(self) -> None:
        """One connection, asked once."""
        self.counts["connected"] += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(*self._target)
        except OSError:
            self.counts["lost"] += 1
            return
        await self._answered(reader, writer)
        writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        self.counts["asked"] += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                writer.write(request_bytes("/"))
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_length(head))
        except (OSError, EOFError):
            self.counts["lost"] += 1
            return False
        return True


async def steady(address: str, port: int, *, kept: int, per_second: float) -> None:
    """Ask until SIGTERM."""
    client, ready = Steady(address, port), asyncio.Semaphore(0)
    with stop_on_signals() as stop:
        async with asyncio.TaskGroup() as tasks:
            keeping = [tasks.create_task(client.keep(ready)) for _ in range(kept)]
            for _ in keeping:
                await ready.acquire()
            print(json.dumps("ready"), flush=True)
            while not stop.is_set():
                tasks.create_task(client.connect())
                await asyncio.sleep(1 / per_second)
            for task in keeping:
                task.cancel()
    print(json.dumps(client.counts))


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0])


def main() -> None:
    """Ask."""
    address, port, kind, *rest = sys.argv[1:]
    if kind == "steady":
        run(steady(address, int(port), kept=int(rest[0]), per_second=float(rest[1])))
    else:
        closing = kind == "close"
        print(json.dumps(one_after_the_other((address, int(port)), closing=closing, seconds=float(rest[0]))))


if __name__ == "__main__":
    main()
