"""A TCP balancer as simple as they come: a replica that says it drains gets no new connections. No retries."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tests.support.world import Ports, ask

_POLL_PERIOD = 0.1  # seconds between two looks at /drainz


class Balancer:
    """Forwards connections from pods' own addresses to replicas in turn. Use it with `async with`."""

    def __init__(self, replicas: Sequence[Ports]) -> None:
        self.port = 0
        self.forwarded = dict.fromkeys((ports.metadata for ports in replicas), 0)
        """Connections by the replica's port."""
        self._replicas = list(replicas)
        self._serving = list(replicas)
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1000)
        self.port = self._server.sockets[0].getsockname()[1]
        self._keep(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        """Look at each replica's /drainz for ever."""
        while True:
            states = [(ports, await _serves(ports)) for ports in self._replicas]
            self._serving = [ports for ports, serves in states if serves]
            await asyncio.sleep(_POLL_PERIOD)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        replica = self._serving[self._turn % len(self._serving)]
        self.forwarded[replica.metadata] += 1
        self._keep(_forward(reader, writer, replica.metadata))

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _serves(ports: Ports) -> bool:
    try:
        return (await ask(ports.admin, "GET", "/drainz")).status == 200
    except OSError:
        return False


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    source = writer.get_extra_info("peername")[0]
    try:
        there, back = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    except OSError:
        writer.transport.abort()
        return
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_pipe(reader, back))
            both.create_task(_pipe(there, writer))
    except* OSError:
        writer.transport.abort()
    finally:
        writer.close()
        back.close()


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(65536):
        sink.write(chunk)
        await sink.drain()
    with suppress(OSError):
        sink.write_eof()
