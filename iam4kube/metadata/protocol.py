"""HTTP/1 for clients that may be anything: uvicorn's protocol with bounds, and with a short way for warm answers.

uvicorn accepts 48 MB of headers, keeps a connection that sends nothing for ever, and answers malformed HTTP
with a body, which awscrt would take for a role name. Pods are not trusted, so here a request has to be small
and to arrive in time, connections are counted by source, and what breaks a bound is ended cheaply.

An answer that is known when the head has arrived is written there and then. Only a request that has to wait
becomes an ASGI task: task, cycle and messages cost as much as the answer itself.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, ClassVar, cast

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from iam4kube.kube.objects import Address
from iam4kube.metadata.application import CLOSE_EXTENSION
from iam4kube.metadata.guard import ConnectionGuard
from iam4kube.metadata.peer import peer_address
from iam4kube.metadata.requests import Request, read_request
from iam4kube.metadata.responses import CLOSE, TTL_HEADER, Response
from iam4kube.runtime.http_protocol import HttpProtocol

logger = logging.getLogger(__name__)

_CLOSING = b"connection: close\r\n"
_TTL = TTL_HEADER + b": %b\r\n"


class _Answered:
    """Stands where uvicorn looks for a connection's latest request, when that was answered at once."""

    response_complete = True
    message_event = asyncio.Event()


_ANSWERED = cast("RequestResponseCycle", _Answered())


def guarded_protocol(guard: ConnectionGuard) -> "type[GuardedProtocol]":
    """The protocol class of one listener."""
    return type("MetadataProtocol", (GuardedProtocol,), {"guard": guard})


class GuardedProtocol(HttpProtocol):
    """One connection."""

    guard: ClassVar[ConnectionGuard]

    _address: Address | None = None
    """Who is at the other end; None while the connection is not admitted."""
    _head_arriving = True
    _raw_bytes = 0
    """Received of the current head, or since it: headers can follow a body as well, and the parser keeps them. While
    requests are queued, since the first of them: they are kept as well."""
    _body_bytes = 0
    _requests_in_chunk = 0

    def connection_made(self, transport: Any) -> None:
        """Count it, or end it: refusing is cheaper than any answer."""
        super().connection_made(transport)
        address = peer_address(self.client)
        if address is None or not self.guard.quota.admit(address):
            self.give_up("no_address" if address is None else "too_many_connections")
            return
        self._address = address
        # So that `pause_writing` tells of every answer that the socket's buffer does not hold, not of 64 kB of them.
        transport.set_write_buffer_limits(high=0)
        self.guard.unfinished.start(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no longer."""
        super().connection_lost(exc)
        self.guard.unfinished.stop(self)
        self.guard.unsent.stop(self)
        if self._address is not None:
            self.guard.quota.release(self._address)
            self._address = None

    def data_received(self, data: bytes) -> None:
        """Parse, within the bounds."""
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.guard.unfinished.start(self)  # by any byte: line ends before a request are none of the parser's messages
        self._requests_in_chunk = 0
        self._raw_bytes += len(data)
        if self._raw_bytes > self.guard.limits.head_bytes:
            self._refuse_size()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.shutdown()  # no other protocol is spoken here: the request is answered, and then it ends
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(error, httptools.HttpParserCallbackError) and not isinstance(
                cause, httptools.HttpParserError
            ):
                logger.exception("Request failed in the parser's callback")
            self._refuse(HTTPStatus.BAD_REQUEST, "malformed")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._body_bytes = 0
        self.guard.unfinished.start(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, of a head or behind a body."""
        if len(self.headers) < self.guard.limits.headers:
            super().on_header(name, value)
        else:
            self._refuse_size()

    def on_headers_complete(self) -> None:
        """Answer at once, or start the application, or queue the request behind the one that is being answered."""
        self._head_arriving = False
        if not self.pipeline:
            self._raw_bytes = 0
        self._requests_in_chunk += 1
        if max(self._requests_in_chunk, len(self.pipeline)) > self.guard.limits.pipelined:
            self._refuse(HTTPStatus.BAD_REQUEST, "too_many_pipelined")
        elif self.transport.is_closing():  # what follows a request that ended the connection
            return
        elif self._unanswered() is not None:
            self._start_application()
        else:
            self._respond(self._request())

    def _unanswered(self) -> RequestResponseCycle | None:
        """The request that is being answered by the application now."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation leaves the time before the first out
        return None if cycle is None or cycle.response_complete else cycle

    def _request(self) -> Request:
        """Raises `HttpParserInvalidURLError`, which the parser makes a 400 of."""
        # A proxy's form of a URL is taken apart; the common one only loses its query.
        path = self.url.partition(b"?")[0] if self.url.startswith(b"/") else httptools.parse_url(self.url).path
        method = self.parser.get_method().decode("ascii")
        return read_request(cast("Address", self._address), method, path or b"", self.headers)

    def _respond(self, request: Request) -> None:
        response = self.guard.respond(request)
        if response is None:
            self._start_application()
        elif response is CLOSE:
            self.transport.abort()
        else:
            self._write(request, response)

    def _write(self, request: Request, response: Response) -> None:
        self.cycle = _ANSWERED
        common = self.guard.common_headers(self.server_state.default_headers)
        keep = _CLOSING not in common and self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
        ttl = b"" if request.echoed_ttl is None else _TTL % request.echoed_ttl
        if not keep and _CLOSING not in common:
            common += _CLOSING
        body = b"" if request.method == "HEAD" else response.body
        self.transport.write(b"".join((response.head, common, ttl, b"\r\n", body)))
        if not keep:
            self.transport.close()
        self.on_response_complete()
        if self.flow.write_paused:  # answers nobody takes in must not pile up
            self.flow.pause_reading()

    def _start_application(self) -> None:
        """Let uvicorn run the ASGI application, or queue the request while another one is being answered."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        scope = cast("dict[str, Any]", self.scope)
        scope["headers"] = headers
        scope["extensions"] = {CLOSE_EXTENSION: self.transport.abort}
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Called by uvicorn, also for a request that was queued: what the last of them took is free again."""
        super()._start_asgi_task(cycle, app)
        if not self.pipeline:
            self._raw_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Bodies are counted and never read."""
        self._body_bytes += len(body)
        if self._body_bytes > self.guard.limits.body_bytes:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large")

    def on_message_complete(self) -> None:
        """The request has arrived as a whole."""
        self._head_arriving = True
        if not self.pipeline:
            self._raw_bytes = 0
        self.guard.unfinished.stop(self)
        if self._unanswered() is not None:
            super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not take in what was answered."""
        super().pause_writing()
        self.guard.unsent.start(self)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self.flow.resume_reading()
        self.guard.unsent.stop(self)

    def give_up(self, reason: str) -> None:
        """End the connection without a word."""
        self.guard.metrics.ended(reason)
        self.transport.abort()

    def _refuse_size(self) -> None:
        if self.pipeline:
            self._refuse(HTTPStatus.BAD_REQUEST, "too_many_pipelined")
        elif self._head_arriving:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large")
        else:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answer with an empty error, in place of whatever was being answered, and close.

        An answer that has begun is broken off instead: the error would become a part of it.
        """
        if self.transport.is_closing():
            return
        self.guard.metrics.ended(reason)
        if not self.answer_begun:
            self.transport.write(Response(status).head + _CLOSING + b"\r\n")
        self.transport.close()
        self.end_requests()
