"""When the router is ready: the rules are right, it knows where to lead them, and packets do pass them.

Unlike a server's, a router's readiness takes nothing out of a Service. It tells people, keeps the startup taint on
the node, and stops a roll-out. So it follows what is true now, with one exception: once both watches have synced, an
API server that is down makes nothing unready. What the kernel holds then is the best that is known.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Never, Protocol

logger = logging.getLogger(__name__)

LOOK_PERIOD: Final = 0.5
"""Seconds between two looks: a kubelet's probe comes every second at most."""
MISSED_VERIFICATIONS: Final = 3
"""After so many intervals without a successful verification nobody knows what the kernel does."""
CONTESTED: Final = 5
"""After so many comparisons in a row, each of which found something changed, another program undoes what is repaired.
One that has changed something once is found by one comparison: what is repaired is looked at again 0.1 s later."""


class Routing(Protocol):
    """The rules in the kernel."""

    @property
    def verified_at(self) -> float:
        """Loop time of the last time that they were right."""
        ...

    @property
    def problem(self) -> str:
        """Why they are not; empty while all is well."""
        ...

    @property
    def granted(self) -> bool:
        """Whether the kernel has been told, once, what the watches have found."""
        ...

    @property
    def drifts_in_a_row(self) -> int:
        """How many comparisons, up to the last one, have each found something changed."""
        ...


class Watch(Protocol):
    """One watch."""

    @property
    def synced(self) -> bool:
        """Whether the first list is complete."""
        ...

    @property
    def problem(self) -> str:
        """Why it does not get on; empty while it does."""
        ...


@dataclass(kw_only=True)
class Readiness:
    """Owns whether the router is ready. Everything else is read where it is owned."""

    routing: Routing
    verify_interval: float
    """In seconds."""
    watches: Mapping[str, Watch]
    """By the plural of what they watch."""
    service_problem: Callable[[], str]
    """Why nothing can be routed to the Service; empty if it can. Told on the node, and no reason to be unready: the
    rules do what they should, and no other node would do better."""
    bypass: Callable[[], str]
    """Why packets seem to be led past the rules; empty if they do not, or if that is accepted."""
    tell: Callable[[str], None]
    """Told every time how routing is: a sentence that says what is wrong, empty if all is well."""
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def missing(self) -> list[str]:
        """A line for each thing that keeps the router from being ready."""
        return [*self._rules_missing(), *self._watches_missing(), *filter(None, [self.bypass()])]

    @property
    def is_ready(self) -> bool:
        """Whether nothing is missing now."""
        return not self.missing()

    async def until_ready(self) -> None:
        """Return when nothing was missing at the last look."""
        await self._ready.wait()

    async def run(self) -> Never:
        """Look again and again; log and tell what changes."""
        last: list[str] | None = None
        while True:
            missing = self.missing()
            if missing != last:
                self._changed(missing, level=logging.INFO if last is None else logging.WARNING)
                last = missing
            self.tell(self._broken())
            await asyncio.sleep(LOOK_PERIOD)

    def verification_age(self) -> float:
        """Seconds since the rules were last right; infinite before that."""
        return asyncio.get_running_loop().time() - self.routing.verified_at

    def _changed(self, missing: list[str], *, level: int) -> None:
        """`level`: of a log line that something is missing, which at start is not worth a warning."""
        if missing:
            self._ready.clear()
            logger.log(level, "Not ready", extra={"missing": "; ".join(missing)})
        else:
            self._ready.set()
            logger.info("Ready")

    def _broken(self) -> str:
        """What a user of the node should know: not that the process has only just started."""
        return next(iter((*self._rules_missing(), *filter(None, [self.bypass(), self.service_problem()]))), "")

    def _rules_missing(self) -> Iterator[str]:
        age = self.verification_age()
        if self.routing.problem:
            yield f"rules: {self.routing.problem}"
        elif age > MISSED_VERIFICATIONS * self.verify_interval:
            yield f"rules: not verified for over {MISSED_VERIFICATIONS * self.verify_interval:g} s"
        elif self.routing.drifts_in_a_row >= CONTESTED:
            yield (
                f"rules: found changed {CONTESTED} times in a row: another program undoes what is repaired, maybe a "
                "second router on this node with other settings; the log says what differs"
            )

    def _watches_missing(self) -> Iterator[str]:
        for name, watch in self.watches.items():
            if not watch.synced:
                problem = watch.problem and f"; {watch.problem}"
                yield f"{name}: the first list is not complete{problem}"
        if not self.routing.granted and all(watch.synced for watch in self.watches.values()):
            yield "rules: what the first lists say is not in the kernel yet"
