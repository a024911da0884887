"""HTTP for a few known clients (probes, Prometheus, people) on a port that anybody may reach: one request a connection.

uvicorn accepts 48 MB of headers and keeps a connection that says nothing for ever. Here a connection has so many
bytes and so many seconds in all, and a source so many connections: whoever asks for more is cut off, without a word.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from iam4kube.runtime.asgi import Header
from iam4kube.runtime.http_protocol import HttpProtocol

ONE_REQUEST: Final[Header] = (b"connection", b"close")
"""A header for every answer of a listener with this protocol: connections are not kept."""


@dataclass(kw_only=True)
class ConnectionBounds:
    """What the clients of one listener may take, and what they have taken."""

    connections: int = 250
    connections_per_source: int = 50
    connections_for_newcomers: int = 250
    """Beyond those, one for each source that has none: a few that take all they can do not keep the kubelet out."""
    request_bytes: int = 16_384
    """Of a whole request. Prometheus sends 500."""
    seconds: float = 10.0
    """For request and answer. Prometheus' default timeout."""
    in_use: Counter[str] = field(default_factory=Counter)
    """Connections by source."""

    def admit(self, source: str) -> bool:
        """Count one more if there is room. What was admitted has to be released."""
        used = self.in_use[source]
        limit = self.connections if used else self.connections + self.connections_for_newcomers
        if self.in_use.total() >= limit or used >= self.connections_per_source:
            return False
        self.in_use[source] += 1
        return True

    def release(self, source: str) -> None:
        """Count one less."""
        self.in_use[source] -= 1
        if not self.in_use[source]:
            del self.in_use[source]


def bounded_protocol(bounds: ConnectionBounds) -> "type[BoundedProtocol]":
    """The protocol class of one listener."""
    return type("BoundedProtocol", (BoundedProtocol,), {"bounds": bounds})


class BoundedProtocol(HttpProtocol):
    """One connection."""

    bounds: ClassVar[ConnectionBounds]

    _source: str | None = None
    """Who is at the other end; None while the connection is not admitted."""
    _received = 0
    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Count it, or cut it off."""
        super().connection_made(transport)
        source = self.client[0] if self.client else ""
        if not self.bounds.admit(source):
            transport.abort()
            return
        self._source = source
        self._end = asyncio.get_running_loop().call_later(self.bounds.seconds, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no longer."""
        super().connection_lost(exc)
        if self._end is not None:
            self._end.cancel()
        if self._source is not None:
            self.bounds.release(self._source)
            self._source = None

    def data_received(self, data: bytes) -> None:
        """Parse it, while it is little."""
        self._received += len(data)
        if self._received > self.bounds.request_bytes:
            self.transport.abort()
        elif not self.transport.is_closing():
            super().data_received(data)
