"""A client as lean as they come, so that what is measured is the server: one request on a connection of its own."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

CREDENTIALS = "/latest/meta-data/iam/security-credentials/"
TOKEN = "/latest/api/token"


@dataclass(frozen=True)
class Reply:
    """An answer, whole. `content` is what came over the wire."""

    content: bytes

    @property
    def status(self) -> int:
        """The status code; 0 when the connection ended without an answer."""
        return int(self.content[9:12] or 0)

    @property
    def body(self) -> bytes:
        """What follows the head."""
        return self.content.partition(b"\r\n\r\n")[2]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values as they were sent."""
        lines = self.content.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


def request_bytes(
    path: str, headers: Mapping[str, str] = MappingProxyType({}), *, method: str = "GET", close: bool = False
) -> bytes:
    """A request as an SDK sends it."""
    fields = {"Host": "169.254.169.254", **headers}
    if close:
        fields["Connection"] = "close"
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def connected(source: str, port: int) -> socket.socket:
    """A socket from this address of loopback to the server."""
    raw = socket.socket()
    raw.setblocking(False)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The port is chosen with the connection, by both ends: 28,000 ports are not for all sources together.
    raw.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    raw.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    return raw


async def ask(port: int, request: bytes, *, source: str) -> Reply:
    """Connect, ask, and read until the answer is complete."""
    raw = await connected(source, port)
    _, exchange = await asyncio.get_running_loop().create_connection(lambda: _Exchange(request), sock=raw)
    try:
        return Reply(await exchange.done)
    finally:
        exchange.close()


class _Exchange(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= _content_length(head) and not self.done.done():
            self.done.set_result(self._received)

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(self._received)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


_BIND_ADDRESS_NO_PORT = 24  # IP_BIND_ADDRESS_NO_PORT of <linux/in.h>; Python 3.11's socket module lacks it


def _content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if rest else 0
