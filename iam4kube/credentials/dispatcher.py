"""Sends the calls: one loop that takes a token first and picks the role then, and a task for each call.

In that order, because the limiter serves its waiters first in, first out: had each role waited for a token of
its own, one that a request waits for would stand behind every refresh that came before it.
"""

import asyncio
import logging
import math
from typing import Protocol

from iam4kube.credentials.entry import Entry
from iam4kube.credentials.metrics import CallMetrics
from iam4kube.credentials.pace import Pace, RetryShare
from iam4kube.credentials.values import Credentials, CredentialSource, FailureKind, FetchError

logger = logging.getLogger(__name__)

# Timers fire up to the clock's resolution too early; what they are for must have come then.
_SLACK = 1e-5


class Roles(Protocol):
    """Whose calls these are: the prefetcher."""

    def advance(self, now: float) -> float:
        """Move the roles whose time has come; returns when the next one's comes (infinity for never)."""
        ...

    def has_next(self, *, retries: bool) -> bool:
        """Whether there is a role to fetch."""
        ...

    def take(self, now: float, *, retries: bool) -> Entry | None:
        """The role to fetch now, marked as running; None if there is none after all."""
        ...

    def succeeded(self, entry: Entry, credentials: Credentials, *, started: float) -> None:
        """The call that began at `started` (loop time) brought credentials."""
        ...

    def failed(self, entry: Entry, error: FetchError) -> None:
        """The call failed."""
        ...


class Dispatcher:
    """Owns the calls under way. `slots` bounds their number, `call_deadline` (seconds) the time of each: a call
    that hangs gives its slot back then, and its role counts as having failed.
    """

    def __init__(
        self,
        *,
        roles: Roles,
        source: CredentialSource,
        pace: Pace,
        share: RetryShare,
        slots: int,
        call_deadline: float,
        metrics: CallMetrics,
    ) -> None:
        self._roles = roles
        self._source = source
        self._pace = pace
        self._share = share
        self._slots = slots
        self._call_deadline = call_deadline
        self._metrics = metrics
        self._changed = asyncio.Event()
        self._time = asyncio.get_running_loop().time
        self.running = 0
        """Calls under way."""

    def wake(self) -> None:
        """Something changed in the queue."""
        self._changed.set()

    async def run(self) -> None:
        """Send calls for ever. Cancelling it cancels those under way."""
        async with asyncio.TaskGroup() as calls:
            while True:
                await self._until_there_is_work()
                await self._pace.acquire()
                entry = self._pick()
                if entry is not None:
                    calls.create_task(self._call(entry, retry=entry.failures > 0))

    async def _until_there_is_work(self) -> None:
        while True:
            now = self._time()
            look_again_at = self._roles.advance(now)
            self._changed.clear()
            if self.running < self._slots:
                if self._roles.has_next(retries=self._share.open(now)):
                    return
                if self._roles.has_next(retries=True):
                    look_again_at = min(look_again_at, self._share_opens_at(now))
            if look_again_at <= now:
                await asyncio.sleep(0)  # more to move than may be moved at once
            else:
                await self._until_changed(look_again_at)

    def _share_opens_at(self, now: float) -> float:
        # Without a free slot it is the end of a call that opens the share, and that wakes us.
        opens_at = self._share.opens_at(now)
        return opens_at if opens_at > now else math.inf

    async def _until_changed(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(None if deadline == math.inf else deadline + _SLACK):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _pick(self) -> Entry | None:
        now = self._time()
        self._roles.advance(now)
        entry = self._roles.take(now, retries=self._share.open(now))
        if entry is not None:
            self.running += 1
            if entry.failures:
                self._share.started(self._pace.cost, now)
        return entry

    async def _call(self, entry: Entry, *, retry: bool) -> None:
        started = self._time()
        try:
            outcome = await self._fetch(entry)
        finally:
            self.running -= 1
            if retry:
                self._share.ended()
            self._changed.set()
        self._metrics.observe(outcome, seconds=self._time() - started)
        if isinstance(outcome, Credentials):
            self._pace.succeeded()
            self._roles.succeeded(entry, outcome, started=started)
            return
        if outcome.kind is FailureKind.THROTTLED:
            self._pace.throttled(self._time())
        self._roles.failed(entry, outcome)

    async def _fetch(self, entry: Entry) -> Credentials | FetchError:
        try:
            async with asyncio.timeout(self._call_deadline):
                return await self._source.fetch(entry.key)
        except FetchError as error:
            return error
        except TimeoutError:
            text = f"no answer from STS within {self._call_deadline:g} s"
            return FetchError(kind=FailureKind.TRANSIENT, code="Timeout", message=text)
        except Exception:  # a source that breaks its promise must not end all fetching
            logger.exception("The source of credentials raised", extra={"role_arn": entry.key.arn})
            return FetchError(kind=FailureKind.TRANSIENT, code="InternalError", message="see the server's log")
