"""The loop that keeps the kernel as it should be: applies wishes at once, looks again, repairs.

One task makes all calls to the kernel, one after the other. What it is asked for meanwhile is kept as the last wish
and a few flags, so nothing queues up: a hundred changes of the endpoints during one transaction are one change.

What the kernel refuses keeps nothing else waiting. Only, while something is refused the belief about the kernel, of
which a wish is the difference, is not certain: then the newest wish is granted by what compares and repairs.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Final, Never, Protocol

from iam4kube.kube.objects import Address
from iam4kube.runtime.backoff import Backoff, full_jitter
from ip2service.differences import Drift
from ip2service.kernel_protocols import ForeignTable, KernelError, Snapshot, Verification
from ip2service.layout import Contents

_log = logging.getLogger(__name__)

RENEWAL_PERIOD: Final = 20.0
"""Seconds between two renewals of exempt pods, a third of `EXEMPT_TIMEOUT`."""
NOTICE_PAUSE: Final = 0.1
"""Seconds at least between two verifications that notices ask for: another program may rewrite rules all the time."""
DRIFT_PAUSE: Final = 30.0
"""Seconds at least between two log lines about the same difference, however often it is repaired."""


class Rules(Protocol):
    """What is in the kernel: `InstalledRules`."""

    async def prepare(self) -> None:
        """Put guards in place and adopt what is there. Raises `ForeignTable`, `KernelError`, with nothing changed."""
        ...

    async def apply(self, contents: Contents, /) -> KernelError | None:
        """Bring everything to these contents. Raises `KernelError`; returns what only the policy rules met."""
        ...

    async def renew(self) -> None:
        """Let exempt pods stay so. Raises `KernelError`."""
        ...

    async def verify(self, contents: Contents | None, /) -> Verification:
        """Compare and repair, and bring everything to these contents. Raises `ForeignTable`, `KernelError`."""
        ...


class Observer(Protocol):
    """Hears what happens: metrics, events, bypass detection."""

    def applied(self, contents: Contents, *, seconds: float) -> None:
        """A wish for these contents is in the kernel, so long after it was made."""
        ...

    def verified(self, found: Snapshot, drifts: tuple[Drift, ...]) -> None:
        """The kernel was read, and what differed has been repaired."""
        ...

    def failed(self, problem: str) -> None:
        """The kernel refused something; it is tried again."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Wish:
    contents: Contents
    known: frozenset[Address]
    made_at: float


@dataclass(kw_only=True)
class Status:
    """What readiness asks."""

    verified_at: float = -inf
    """Loop time of the last time that everything was found, or made, as it should be."""
    problem: str = ""
    """Why it is not so; empty while all is well."""
    granted: bool = False
    """Whether a wish is in the kernel. Until the first one is, the maps are as an earlier process left them."""
    drifts_in_a_row: int = 0
    """How many comparisons, up to the last one, have each found something changed."""


@dataclass(kw_only=True)
class _Agenda:
    """What is due, in loop time."""

    verify_at: float = 0.0
    renew_at: float = 0.0
    read_at: float = -inf
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    wished: asyncio.Event = field(default_factory=asyncio.Event)


class Reconciler:
    """Owns the wish and the times. `run` is the only task that touches the rules."""

    def __init__(
        self,
        rules: Rules,
        *,
        observer: Observer,
        verify_interval: float,
        keep_connections: Callable[[frozenset[Address]], None],
        backoff: Backoff | None = None,
    ) -> None:
        """`keep_connections` hears of the addresses that are known, once nothing leads to any other any more."""
        self._rules = rules
        self._observer = observer
        self._verify_interval = verify_interval
        self._keep_connections = keep_connections
        self._backoff = backoff or Backoff(full_jitter(initial=0.1, maximum=5.0))
        self._agenda = _Agenda()
        self._wish: _Wish | None = None
        self._taken: _Wish | None = None
        self._granted: _Wish | None = None
        self._told: dict[Drift, float] = {}
        self.status = Status()

    def want(self, contents: Contents, *, known: frozenset[Address]) -> None:
        """Make this what the kernel should hold. `known` are all addresses in slices: connections to others end."""
        last = self._wish
        if last is not None and (last.contents, last.known) == (contents, known):
            return
        waits = last is not None and last is not self._taken
        made_at = last.made_at if last is not None and waits else asyncio.get_running_loop().time()
        self._wish = _Wish(contents=contents, known=known, made_at=made_at)
        self._agenda.wake.set()
        self._agenda.wished.set()

    def notice(self) -> None:
        """Somebody, maybe this program, has changed rules of ours: look soon."""
        self._agenda.verify_at = min(self._agenda.verify_at, self._agenda.read_at + NOTICE_PAUSE)
        self._agenda.wake.set()

    async def prepare(self) -> None:
        """Put guards in place and adopt what is there.

        Raises `ForeignTable` and `KernelError`, both with nothing changed. What is refused after that is no reason not
        to start: `run` tries it again, as it does with what is refused later.
        """
        await self._rules.prepare()
        if (error := await _error_of(self._verify)) is not None:
            self._fail(error)

    async def run(self) -> Never:
        """Apply, verify and renew, each in its time; whatever fails is tried again."""
        while True:
            await self._wait()
            errors = [error for step in self._due() if (error := await _error_of(step)) is not None]
            if errors:
                self._fail(errors[0])
                await self._pause()
            else:
                self._backoff.reset()

    async def _wait(self) -> None:
        if self.status.problem:
            return
        due = min(self._agenda.verify_at, self._agenda.renew_at)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._agenda.wake.wait()
        self._agenda.wake.clear()

    async def _pause(self) -> None:
        """Wait before what failed is tried again; a wish that comes meanwhile does not wait for all of it."""
        delay = self._backoff.next_delay()
        await asyncio.sleep(min(delay, NOTICE_PAUSE))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay - NOTICE_PAUSE):
                await self._agenda.wished.wait()

    def _due(self) -> Iterator[Callable[[], Awaitable[None]]]:
        """What is to be done now, step by step."""
        now = asyncio.get_running_loop().time
        if self.status.problem:
            yield self._verify
        elif self._wish is not self._granted:
            yield self._grant
        if now() >= self._agenda.renew_at:
            yield self._renew
        if now() >= self._agenda.verify_at:
            yield self._verify

    async def _grant(self) -> None:
        wish = self._take()
        if wish is None:
            return
        refused = await self._rules.apply(wish.contents)
        self._note(wish)
        if refused is not None:
            raise refused

    async def _renew(self) -> None:
        self._agenda.renew_at = asyncio.get_running_loop().time() + RENEWAL_PERIOD
        await self._rules.renew()

    async def _verify(self) -> None:
        """Nothing that comes while the kernel is read may count as seen: the next time is set before."""
        started = asyncio.get_running_loop().time()
        self._agenda.read_at = started
        self._agenda.verify_at = started + self._verify_interval
        wish = self._take()
        found, drifts, refused = await self._rules.verify(None if wish is None else wish.contents)
        self._note(wish)
        self._tell(drifts, now=started)
        self.status.drifts_in_a_row = self.status.drifts_in_a_row + 1 if drifts else 0
        self._observer.verified(found, drifts)
        if refused is not None:
            raise refused
        if self.status.problem:
            _log.info("Rules are in place again")
        self.status.verified_at, self.status.problem = started, ""

    def _take(self) -> _Wish | None:
        self._agenda.wished.clear()
        self._taken = self._wish
        return self._wish

    def _note(self, wish: _Wish | None) -> None:
        """A wish, maybe one of before, is in the kernel's tables."""
        if wish is None or wish is self._granted:
            return
        self._granted = wish
        self.status.granted = True
        self._keep_connections(wish.known)
        self._observer.applied(wish.contents, seconds=asyncio.get_running_loop().time() - wish.made_at)

    def _tell(self, drifts: Iterable[Drift], *, now: float) -> None:
        """Log what differed, but not what the log has just said: two programs may undo each other's work for ever."""
        self._told = {drift: at for drift, at in self._told.items() if now - at < DRIFT_PAUSE}
        for drift in drifts:
            if drift not in self._told:
                self._told[drift] = now
                fields = {"what": drift.what, "where": drift.where, "difference": drift.detail}
                _log.warning("Rules differed from what was installed; repaired", extra=fields)

    def _fail(self, error: Exception) -> None:
        if not self.status.problem:
            _log.error("Rules could not be brought in place; trying again", extra={"error": str(error)})
        self.status.problem = str(error)
        self._observer.failed(str(error))


async def _error_of(step: Callable[[], Awaitable[None]]) -> Exception | None:
    """Take a step. Returns what was refused."""
    try:
        await step()
    except (KernelError, ForeignTable) as error:
        return error
    return None
