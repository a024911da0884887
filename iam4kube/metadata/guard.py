"""What the connections of one listener share: bounds, how much of them is used, and the headers of every answer."""

from collections.abc import Callable
from typing import Protocol

from iam4kube.metadata.limits import ConnectionLimits, Deadlines, Quota
from iam4kube.metadata.metrics import ConnectionMetrics
from iam4kube.metadata.requests import Request
from iam4kube.metadata.responses import Response, render_headers
from iam4kube.runtime.asgi import Header

Respond = Callable[[Request], Response | None]
"""The response if it is known now; None when it has to be waited for."""


class Connection(Protocol):
    """A connection, as far as its deadlines care."""

    def __hash__(self) -> int:
        """By identity."""
        ...

    def give_up(self, reason: str) -> None:
        """End it without a word. `reason` is a metric's label."""
        ...


class ConnectionGuard:
    """Owns the bookkeeping of one listener's connections."""

    def __init__(self, *, respond: Respond, limits: ConnectionLimits, metrics: ConnectionMetrics) -> None:
        self.respond = respond
        self.limits = limits
        self.metrics = metrics
        self.quota = Quota(
            total=limits.connections,
            per_source=limits.connections_per_source,
            for_newcomers=limits.connections_for_newcomers,
        )
        self.unfinished: Deadlines[Connection] = Deadlines(
            limits.request_seconds, lambda connection: connection.give_up("request_too_slow")
        )
        """Connections whose first or current request has not arrived as a whole."""
        self.unsent: Deadlines[Connection] = Deadlines(
            limits.request_seconds, lambda connection: connection.give_up("answer_not_taken")
        )
        """Connections whose client does not take in what was answered."""
        self._common: list[Header] = []
        self._rendered = b""
        metrics.count_open(self.quota.__len__)

    def common_headers(self, headers: list[Header]) -> bytes:
        """The headers of every answer as bytes. The listener makes a new list when they change, once a second."""
        if headers is not self._common:
            self._common = headers
            self._rendered = render_headers(headers)
        return self._rendered
