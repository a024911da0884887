"""Telling STS's trouble from a role's own: the share of calls that failed transiently in the last minute.

While over half of them did, STS counts as down. Once it is back, the roles that the outage interrupted are
no longer roles that fail: at a fifth of the limiter, ten thousand of them would need 83 minutes to recover,
and their sessions would expire on the way.
"""

from collections import deque

from iam4kube.credentials.entry import Entry

_WINDOW = 60.0
# One role's own time-outs are not an outage, however quiet the rest.
_FAILURES_OF_AN_OUTAGE = 10


class RecentCalls:
    """The calls of the last minute, counted by the second."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int, int]] = deque()  # the second, its calls, its transient failures
        self._calls = 0
        self._failures = 0

    def record(self, now: float, *, transient: bool) -> None:
        """A call ended; whether it failed transiently."""
        self._expire(now)
        calls, failures = 1, int(transient)
        if self._seconds and self._seconds[-1][0] == int(now):
            _, calls_before, failures_before = self._seconds.pop()
            calls, failures = calls + calls_before, failures + failures_before
        self._seconds.append((int(now), calls, failures))
        self._calls += 1
        self._failures += transient

    def mostly_failing(self, now: float) -> bool:
        """Whether over half of the last minute's calls failed transiently."""
        self._expire(now)
        return 2 * self._failures > self._calls

    def transient_failures(self, now: float) -> int:
        """How many of the last minute's calls failed transiently."""
        self._expire(now)
        return self._failures

    def _expire(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= now - _WINDOW:
            _, calls, failures = self._seconds.popleft()
            self._calls -= calls
            self._failures -= failures


class Outage:
    """Notices that STS went down and came back, and which roles it interrupted."""

    def __init__(self) -> None:
        self.calls = RecentCalls()
        self._down = False
        self._interrupted: dict[Entry, None] = {}
        self._released: dict[Entry, None] = {}

    def ended(self, entry: Entry, now: float, *, transient: bool) -> None:
        """A call for this role ended."""
        self.calls.record(now, transient=transient)
        self.forget(entry)
        if transient:
            self._interrupted[entry] = None
        if self.calls.mostly_failing(now):
            self._down = self._down or self.calls.transient_failures(now) >= _FAILURES_OF_AN_OUTAGE
        elif self._down:
            self._down = False
            self._released.update(self._interrupted)
            self._interrupted = {}

    def forget(self, entry: Entry) -> None:
        """The role is gone, or its last call was no transient failure."""
        self._interrupted.pop(entry, None)
        self._released.pop(entry, None)

    @property
    def releasing(self) -> bool:
        """Whether `released` has more to take."""
        return bool(self._released)

    def released(self, limit: int) -> list[Entry]:
        """Take up to `limit` roles that an outage, now over, had interrupted."""
        return [self._released.popitem()[0] for _ in range(min(limit, len(self._released)))]
