"""Clients of a listener on real sockets, and an application that answers late."""

import asyncio
from collections.abc import Awaitable, Callable

from iam4kube.runtime.asgi import Receive, Scope, Send, text_response
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.parsing import ListenAddress

LOOPBACK = ListenAddress("127.0.0.1", 0)
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Gate:
    """An application that answers once it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.asked = asyncio.Event()
        self.cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer "late" then."""
        self.asked.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await text_response(200, "late")(scope, receive, send)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes = REQUEST) -> None:
        """Write, and do not wait."""
        self._writer.write(data)

    async def answer(self) -> tuple[bytes, bytes]:
        """Head and body of the next answer."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        return head, await self._reader.readexactly(length)

    async def ask(self) -> tuple[bytes, bytes]:
        """Send a request and return head and body."""
        self.send()
        return await self.answer()

    async def ended(self) -> bytes:
        """What still comes, up to the end of the connection."""
        return await self._reader.read()

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass


Start = Callable[..., Awaitable[Listener]]
Connect = Callable[..., Awaitable[Client]]


async def open_connections(listener: Listener, count: int) -> None:
    """Wait until the listener has so many."""
    while listener.open_connections != count:  # noqa: ASYNC110  # uvicorn's set of connections tells nobody
        await asyncio.sleep(0.001)
