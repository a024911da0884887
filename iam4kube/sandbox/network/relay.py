"""A port inside a namespace that leads to one outside: how a node's programs reach an API server on this machine."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from iam4kube.sandbox.network.namespace import Namespace

_CONNECTIONS_LIMIT = 200
_CHUNK = 65536


class Relay:
    """Listens on a port of 127.0.0.1 inside and connects to the same one outside. Use it with `async with`.

    Bytes pass as they are, so a certificate for 127.0.0.1 holds. Connections beyond 200 are reset.
    """

    def __init__(self, namespace: Namespace, *, port: int) -> None:
        self.port = port
        self._namespace = namespace
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        listening = self._namespace.bound_socket("127.0.0.1", self.port)
        self._server = await asyncio.start_server(self._accept, sock=listening)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        await self.reset()

    async def reset(self) -> None:
        """Reset the connections that there are."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= _CONNECTIONS_LIMIT:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.port)
            writers.append(back)
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(_copy(reader, back))
                both_ways.create_task(_copy(there, writer))
        except* OSError:
            pass  # whoever is left at the other end sees the reset
        finally:
            for each in writers:
                each.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        sink.write(chunk)
        await sink.drain()
    with suppress(OSError):
        sink.write_eof()
