"""What clients have written down, counted by the test's phases."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SLOW = 1.0
"""Seconds after which an SDK has given up."""
_LAST_OF_CALLS = ("credentials", "boto3")


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

    @property
    def cut(self) -> bool:
        """Whether nobody was there, or not until the answer. boto3 says only that it has nothing."""
        return self.outcome.startswith(("Connection", "RemoteDisconnected", "got:None"))


def requests_of(client: str, log: str) -> list[Request]:
    """What one client has written, but for a line that is not complete."""
    lines = [line.split(" ") for line in log.splitlines(keepends=True) if line.endswith("\n")]
    return [
        Request(client=client, what=what, began=float(began), seconds=float(seconds), outcome=outcome.rstrip())
        for what, began, seconds, outcome in lines
    ]


@dataclass(frozen=True, kw_only=True)
class Window:
    """A named time between two readings of the monotonic clock."""

    name: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.ended - self.began

    def overlaps(self, request: Request) -> bool:
        """Whether a request was under way, or sent, in it."""
        return request.began <= self.ended and self.began <= request.began + request.seconds

    def __str__(self) -> str:
        return f"{self.name}, {self.seconds:.1f} s in all"


@dataclass(kw_only=True)
class Phase:
    """A part of a test, and what was asked in it."""

    window: Window
    requests: list[Request] = field(default_factory=list)

    def __str__(self) -> str:
        seconds = self.window.seconds
        times = sorted(request.seconds for request in self.requests) or [0.0]
        kept = sum(request.what == "kept" for request in self.requests)
        calls = sum(request.what in _LAST_OF_CALLS and not request.failed for request in self.requests)
        return (
            f"{self.window.name:<30} {seconds:5.1f} s, {len(self.requests) / seconds:3.0f} requests/s: "
            f"{len(self.requests) - kept} with new connections, {kept} on kept ones; {calls} calls; "
            f"{len(_failed(self.requests))} failed, {len(_slow(self.requests))} over 1 s, "
            f"{sum(request.outcome == 'retried' for request in self.requests)} retried; "
            f"p50 {1e3 * times[len(times) // 2]:.1f} ms, p99 {1e3 * times[len(times) * 99 // 100]:.0f} ms, "
            f"longest {1e3 * times[-1]:.0f} ms"
        )


class Record:
    """The phases of a test, one after the other."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """The time in which the block runs."""
        began = time.monotonic()
        yield
        self.phases.append(Phase(window=Window(name=name, began=began, ended=time.monotonic())))

    def sort(self, requests: Iterable[Request]) -> None:
        """Give each request to the phase in which it began, if there is one."""
        for request in requests:
            for phase in self.phases:
                if phase.window.began <= request.began < phase.window.ended:
                    phase.requests.append(request)
                    break

    @property
    def requests(self) -> list[Request]:
        """Those of all phases."""
        return [request for phase in self.phases for request in phase.requests]

    @property
    def failed(self) -> list[Request]:
        """Requests without the right answer."""
        return _failed(self.requests)

    @property
    def slow(self) -> list[Request]:
        """Answers that came too late for an SDK."""
        return _slow(self.requests)

    @property
    def rate(self) -> float:
        """Requests with new connections in a second."""
        seconds = sum(phase.window.seconds for phase in self.phases)
        return sum(request.what != "kept" for request in self.requests) / seconds

    def __str__(self) -> str:
        return "\n".join(map(str, self.phases))


def _failed(requests: Iterable[Request]) -> list[Request]:
    return [request for request in requests if request.failed]


def _slow(requests: Iterable[Request]) -> list[Request]:
    return [request for request in requests if request.seconds > SLOW]
