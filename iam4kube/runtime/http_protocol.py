"""uvicorn's HTTP/1 protocol, in which every request of a connection hears that the connection has ended.

uvicorn (0.54, `connection_lost` in httptools_impl.py) tells a connection's newest request only. The application may be
busy with an older one: with pipelining (RFC 9112, 9.3.2) others are queued behind it. That one would never hear
`http.disconnect`, and its task would stay for ever. uvicorn also stops reading while requests are queued, and a
connection that is not read from does not tell that its client has gone.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


class HttpProtocol(HttpToolsProtocol):
    """One connection. What it may queue is for subclasses to bound: nothing else stops a client that sends on."""

    _running: RequestResponseCycle | None = None
    """The latest request that was given to the application: the only one whose task may live."""

    @property
    def answer_begun(self) -> bool:
        """Whether the client has got a part of an answer, and not yet its end."""
        running = self._running
        return running is not None and running.response_started and not running.response_complete

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more for any of its requests."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # after a reset uvicorn leaves the timer, and with it the whole connection
        self.end_requests()

    def on_headers_complete(self) -> None:
        """Start the application or queue the request, and read on: else a client's end would not be noticed."""
        super().on_headers_complete()
        if self.pipeline:
            self.flow.resume_reading()

    def end_requests(self) -> None:
        """Tell the running request that its client has gone, and drop those that are queued. May be called again."""
        while self.pipeline:
            queued, _ = self.pipeline.pop()
            queued.on_response = _nothing  # as uvicorn does after a run: it leads back here, and would be a cycle
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Called by uvicorn, for a new request and for one that was queued."""
        self._running = cycle
        self._unset_keepalive_if_required()  # set by an answer that was given since the last bytes came
        super()._start_asgi_task(cycle, app)


def _nothing() -> None:
    pass
