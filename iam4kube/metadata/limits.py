"""Bounds that keep one pod from starving the others, and their bookkeeping."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What one connection may take, and how many there may be."""

    connections: int = 10_000
    """In total: about 10 kB each."""
    connections_per_source: int = 100
    """From one address. CRT's pool holds 10 for each process of a pod."""
    connections_for_newcomers: int = 0
    """Beyond the total, one for each address that has none: a few that take all they can keep nobody else out."""
    head_bytes: int = 16_384
    """Request line and headers; and all requests together that were queued behind others since none was last. botocore
    sends 200 bytes, and never ahead of an answer."""
    headers: int = 100
    """Of one request, trailing ones included. botocore sends 6; each takes some 150 bytes while its request waits, so
    a head of nothing but headers of two bytes would become half a megabyte."""
    body_bytes: int = 1_024
    """No client sends a body."""
    request_seconds: float = 5.0
    """For a whole request to arrive, counted from the connection's begin or the request's first byte; and for the
    client to take in an answer that the socket's buffers do not hold."""
    pipelined: int = 16
    """Requests sent ahead of the answer. No client does that."""


@dataclass(frozen=True, kw_only=True)
class WaitingLimits:
    """How many requests may wait for an answer at a time."""

    total: int = 5_000
    per_source: int = 50
    """From one address: the processes of a pod that start together."""


class Quota:
    """Counts what is in use, in total and by source, and admits no more than the limits.

    Beyond the total there is room `for_newcomers`, for sources that have nothing yet.
    """

    def __init__(self, *, total: int, per_source: int, for_newcomers: int = 0) -> None:
        self._limit = total
        self._limit_per_source = per_source
        self._for_newcomers = for_newcomers
        self._total = 0
        self._by_source: dict[str, int] = {}

    def __len__(self) -> int:
        return self._total

    def admit(self, source: str) -> bool:
        """Count one more if there is room. What was admitted has to be released."""
        used = self._by_source.get(source, 0)
        limit = self._limit if used else self._limit + self._for_newcomers
        if self._total >= limit or used >= self._limit_per_source:
            return False
        self._total += 1
        self._by_source[source] = used + 1
        return True

    def release(self, source: str) -> None:
        """Count one less."""
        self._total -= 1
        left = self._by_source[source] - 1
        if left:
            self._by_source[source] = left
        else:
            del self._by_source[source]


class Deadlines(Generic[T]):
    """One deadline for many: each has the same number of seconds, and `expired` is called with the late ones.

    A timer for each request would cost 1 µs. All get the same time, so the order of arrival is the order of the
    deadlines, and one timer that looks at the oldest serves all of them.
    """

    def __init__(self, seconds: float, expired: Callable[[T], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._expired = expired
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._due)

    def start(self, item: T) -> None:
        """Begin the time of `item`, if it has not begun."""
        if item in self._due:
            return
        self._due[item] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def stop(self, item: T) -> None:
        """`item` is done."""
        self._due.pop(item, None)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        late = []
        for item, due in self._due.items():
            if due > now:
                self._timer = self._loop.call_at(due, self._look)
                break
            late.append(item)
        for item in late:
            self._due.pop(item, None)
            self._expired(item)
