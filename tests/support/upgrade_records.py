"""What clients have written down, counted by the test's phases."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SLOW = 1.0
"""Seconds after which an SDK has given up."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One line of a client."""

    client: str
    what: str
    """`token`, `role` and `credentials` are an SDK's call; `kept` a request on a kept connection; `boto3` a call."""
    began: float
    """On the monotonic clock, in seconds."""
    seconds: float
    outcome: str
    """`ok`; `retried` where a kept connection was closed while the request was on its way; else what went wrong."""

    @property
    def failed(self) -> bool:
        """Whether the SDK would have failed."""
        return self.outcome not in ("ok", "retried")


def requests_of(client: str, log: str) -> list[Request]:
    """What one client has written, but for a line that is not complete."""
    lines = [line.split(" ") for line in log.splitlines(keepends=True) if line.endswith("\n")]
    return [
        Request(client=client, what=what, began=float(began), seconds=float(seconds), outcome=outcome.rstrip())
        for what, began, seconds, outcome in lines
    ]


@dataclass(kw_only=True)
class Phase:
    """A part of the test, and what was asked in it."""

    name: str
    began: float
    ended: float
    requests: list[Request] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """SDKs' calls that have come to their end."""
        return sum(request.what in ("credentials", "boto3") and not request.failed for request in self.requests)

    @property
    def failed(self) -> list[Request]:
        """Requests without the right answer."""
        return [request for request in self.requests if request.failed]

    @property
    def slow(self) -> list[Request]:
        """Answers that came too late for an SDK."""
        return [request for request in self.requests if request.seconds > SLOW]

    @property
    def retried(self) -> int:
        """Kept connections that were closed while a request was on its way."""
        return sum(request.outcome == "retried" for request in self.requests)

    @property
    def slowest(self) -> float:
        """In seconds."""
        return max((request.seconds for request in self.requests), default=0.0)

    def __str__(self) -> str:
        seconds = self.ended - self.began
        times = sorted(request.seconds for request in self.requests) or [0.0]
        kinds = Counter(request.what for request in self.requests)
        return (
            f"{self.name:<28} {seconds:6.1f} s {len(self.requests):6d} requests ({len(self.requests) / seconds:.0f}/s, "
            f"{kinds['kept']} on kept connections), {self.calls} calls, {len(self.failed)} failed, "
            f"{len(self.slow)} over 1 s, {self.retried} retried; p50 {1e3 * times[len(times) // 2]:.1f} ms, "
            f"p99 {1e3 * times[len(times) * 99 // 100]:.0f} ms, longest {1e3 * times[-1]:.0f} ms"
        )


def sort_into(phases: Sequence[Phase], requests: Iterable[Request]) -> None:
    """Give each request to the phase in which it began."""
    for request in requests:
        for phase in phases:
            if phase.began <= request.began < phase.ended:
                phase.requests.append(request)
                break
