"""HTTP/1 for clients that may be anything: uvicorn's protocol with bounds.

uvicorn accepts 48 MB of headers, keeps a connection that sends nothing for ever, and answers malformed HTTP
with a body, which awscrt would take for a role name. Pods are not trusted, so here a request has to be small
and to arrive in time, connections are counted by source, and what breaks a bound is ended cheaply.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from iam4kube.metadata.application import CLOSE_EXTENSION
from iam4kube.metadata.limits import ConnectionLimits, Deadlines, Quota
from iam4kube.metadata.metrics import ConnectionMetrics


class ConnectionGuard:
    """What a listener's connections share: the bounds and who has used how much of them."""

    def __init__(self, limits: ConnectionLimits, metrics: ConnectionMetrics) -> None:
        self.limits = limits
        self.metrics = metrics
        self.quota = Quota(total=limits.connections, per_source=limits.connections_per_source)
        self.unfinished: Deadlines[GuardedProtocol] = Deadlines(
            limits.request_seconds, lambda connection: connection.give_up("request_too_slow")
        )
        """Connections whose first or current request has not arrived as a whole."""
        self.unsent: Deadlines[GuardedProtocol] = Deadlines(
            limits.request_seconds, lambda connection: connection.give_up("answer_not_taken")
        )
        """Connections whose client does not take in what was answered."""
        metrics.count_open(self.quota.__len__)


def guarded_protocol(guard: ConnectionGuard) -> "type[GuardedProtocol]":
    """The protocol class of one listener."""
    return type("MetadataProtocol", (GuardedProtocol,), {"guard": guard})


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    guard: ClassVar[ConnectionGuard]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._source = ""
        """Whom the connection is counted for; empty while it is not."""
        self._head_bytes = 0
        self._body_bytes = 0
        self._head_arriving = True
        self._extensions: dict[str, Callable[[], None]] = {CLOSE_EXTENSION: self._close_at_once}

    def connection_made(self, transport: Any) -> None:
        """Count it, or end it: refusing is cheaper than any answer."""
        super().connection_made(transport)
        source = self.client[0] if self.client else ""
        if not source or not self.guard.quota.admit(source):
            self.give_up("too_many_connections")
            return
        self._source = source
        self.guard.unfinished.start(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no longer."""
        super().connection_lost(exc)
        self.guard.unfinished.stop(self)
        self.guard.unsent.stop(self)
        if self._source:
            self.guard.quota.release(self._source)
            self._source = ""

    def data_received(self, data: bytes) -> None:
        """Parse, within the bounds."""
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if self._head_arriving:
            self._head_bytes += len(data)
            if self._head_bytes > self.guard.limits.head_bytes:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large")
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.shutdown()  # no other protocol is spoken here: the request is answered, and then it ends
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST, "malformed")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]  # ours, not one of ASGI's own
        self._body_bytes = 0
        self.guard.unfinished.start(self)

    def on_headers_complete(self) -> None:
        """Start the application, or queue the request behind the one that is being answered."""
        self._head_arriving = False
        self._head_bytes = 0
        if len(self.pipeline) >= self.guard.limits.pipelined:
            self._refuse(HTTPStatus.BAD_REQUEST, "too_many_pipelined")
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bodies are counted and never read."""
        self._body_bytes += len(body)
        if self._body_bytes > self.guard.limits.body_bytes:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large")

    def on_message_complete(self) -> None:
        """The request has arrived as a whole."""
        self._head_arriving = True
        self.guard.unfinished.stop(self)
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client takes in nothing, and the buffer is full."""
        super().pause_writing()
        self.guard.unsent.start(self)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self.guard.unsent.stop(self)

    def give_up(self, reason: str) -> None:
        """End the connection without a word."""
        self.guard.metrics.ended(reason)
        self._close_at_once()

    def _close_at_once(self) -> None:
        self.transport.abort()

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answer with an empty error, in place of whatever was being answered, and close."""
        if self.transport.is_closing():
            return
        self.guard.metrics.ended(reason)
        headers = [*self.server_state.default_headers, (b"content-length", b"0"), (b"server", b"EC2ws")]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"connection: close\r\n\r\n"]))
        self.transport.close()
        self.pipeline.clear()
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
