"""The owner of all credentials: fetched as soon as a ServiceAccount names a role, kept fresh, dropped after it.

One entry per role key. Every change of an entry ends in `_settle`, which puts it where it belongs: into a lane
of the queue, to a time at which to look again, or out. All of it is synchronous and on the event loop; the
dispatcher is the only task. Requests find what is in hand with `lookup`; those that find nothing hold the role
at the front of the queue with `demand` and wait for the key in `runtime.waits`.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from iam4kube.credentials.census import Census
from iam4kube.credentials.churn import Churn, Restarts
from iam4kube.credentials.dispatcher import Dispatcher
from iam4kube.credentials.entry import Entry, State
from iam4kube.credentials.fetch_queue import FetchQueue
from iam4kube.credentials.indexed_heap import IndexedHeap
from iam4kube.credentials.metrics import CallMetrics, Statistics, StatisticsCollector
from iam4kube.credentials.outage import Outage
from iam4kube.credentials.pace import Pace, RetryShare
from iam4kube.credentials.progress import FirstRound, Progress
from iam4kube.credentials.schedule import Schedule
from iam4kube.credentials.values import (
    Credentials,
    CredentialSource,
    Failure,
    FailureKind,
    Fetched,
    FetchError,
    Refused,
)
from iam4kube.roles import RoleKey
from iam4kube.runtime.waits import Waits

logger = logging.getLogger(__name__)

_TRANSIENT_TRIES = 3  # after so many, readiness does not wait for a role any longer
_RELEASED_AT_ONCE = 500  # as many as the queue moves at once: 4 ms


class Prefetcher:
    """Credentials of every role that is named or waited for. Construct it on the event loop it belongs to.

    At most `slots` calls are under way at once, each for at most `call_deadline` seconds.
    """

    def __init__(
        self,
        *,
        source: CredentialSource,
        waits: Waits,
        registry: CollectorRegistry,
        chance: random.Random,
        pace: Pace,
        slots: int = 20,
        call_deadline: float = 15.0,
    ) -> None:
        self._waits = waits
        self._time = asyncio.get_running_loop().time
        self._entries: dict[RoleKey, Entry] = {}
        self._created = 0
        self._queue = FetchQueue()
        self._waited: IndexedHeap[Entry] = IndexedHeap()
        self._schedule = Schedule(chance)
        self._restarts = Restarts()
        self._churn = Churn()
        self._outage = Outage()
        self._first_round = FirstRound()
        self._census = Census()
        self._held = 0
        self._pace = pace
        self._dispatcher = Dispatcher(
            roles=self,
            source=source,
            pace=pace,
            share=RetryShare(rate=pace.rate, burst=pace.burst, slots=slots, now=self._time()),
            slots=slots,
            call_deadline=call_deadline,
            metrics=CallMetrics(registry),
        )
        registry.register(StatisticsCollector(self.statistics))

    async def run(self) -> None:
        """Fetch for ever. Everything else here works without it, only nothing is fetched."""
        await self._dispatcher.run()

    # What identity says.

    def hold(self, key: RoleKey, *, namespace: str) -> None:
        """A ServiceAccount of this namespace names the role: fetch it and keep it fresh."""
        entry = self._entry(key, namespace)
        entry.holders += 1
        if entry.holders == 1:
            self._held += 1
            if not entry.tried:
                self._first_round.added(entry)
        self._settle(entry)

    def release(self, key: RoleKey) -> None:
        """A ServiceAccount names the role no longer. Raises ValueError if none did."""
        entry = self._entries.get(key)
        if entry is None or not entry.holders:
            raise ValueError(f"released more often than held: {key.arn}")
        entry.holders -= 1
        if not entry.holders:
            self._held -= 1
            self._first_round.done(entry)
            self._churn.charge(entry.namespace, self._time())
            entry.unwanted_since = self._time()
        self._settle(entry)

    def use(self, key: RoleKey, pods: int) -> None:
        """So many running pods use the role now. Only of roles that are held; others are ignored."""
        entry = self._entries.get(key)
        if entry is None:
            return
        changed = bool(pods) != bool(entry.pods)
        entry.pods = pods
        if changed:
            self._settle(entry)

    # What requests ask.

    def lookup(self, key: RoleKey) -> Fetched | Refused | None:
        """What is in hand: unexpired credentials; else STS's refusal; else None, and `waits` wakes the key when
        that changes.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        fetched = entry.fetched
        if fetched is not None and self._time() < fetched.expires_at:
            return fetched
        return entry.refusal

    @contextlib.contextmanager
    def demand(self, key: RoleKey, *, namespace: str) -> Iterator[None]:
        """Hold the role at the front of the queue for as long as a request waits for it, even if no
        ServiceAccount is known to name it (yet).
        """
        entry = self._entry(key, namespace)
        entry.waiters += 1
        if entry.waiters == 1:
            entry.waiting_since = self._time()
            self._waited.put(entry, (entry.waiting_since,))
        self._settle(entry)
        try:
            yield
        finally:
            entry.waiters -= 1
            if not entry.waiters:
                self._waited.discard(entry)
                entry.unwanted_since = self._time()
            self._settle(entry)

    # What operators and the server ask.

    def close_first_round(self) -> None:
        """The watches are synced: roles that are new from now on do not keep the replica from being ready."""
        self._first_round.close()

    def progress(self, *, in_use_only: bool = False) -> Progress:
        """How far the first round has come, of all roles or of those that running pods use."""
        waiting = self._first_round.waiting(in_use_only=in_use_only)
        return Progress(known=self._held, waiting=waiting, sts_failing=self._outage.calls.mostly_failing(self._time()))

    def statistics(self) -> Statistics:
        """The numbers for metrics and the debug page."""
        since = self._waited.first_order()
        return Statistics(
            states={state: self._census.states[state] for state in State},
            failing=dict(self._census.failing),
            queue=self._queue.lengths(),
            oldest_wait=0.0 if since is None else self._time() - since[0],
            calls_running=self._dispatcher.running,
            call_cost=self._pace.cost,
        )

    # What the dispatcher asks and brings.

    def advance(self, now: float) -> float:
        """Move the roles whose time has come; returns when the next one's comes (infinity for never)."""
        for entry in self._outage.released(_RELEASED_AT_ONCE):
            entry.failures = 0
            self._settle(entry)
        for entry in self._queue.changing(now):
            self._settle(entry)
        return now if self._outage.releasing else self._queue.next_change

    def has_next(self, *, retries: bool) -> bool:
        """Whether there is a role to fetch."""
        return self._queue.has(retries=retries)

    def take(self, now: float, *, retries: bool) -> Entry | None:
        """The role to fetch now, marked as running; None if there is none after all."""
        while (entry := self._queue.pick(retries=retries)) is not None:
            if entry.fetched is None and entry.failure is None:
                entry.not_before = self._restarts.allowed_at(entry.key.session_name, now)
                if entry.not_before > now:
                    self._settle(entry)
                    continue
                self._restarts.started(entry.key.session_name, now)
            entry.running = True
            return entry
        return None

    def succeeded(self, entry: Entry, credentials: Credentials, *, started: float) -> None:
        """The call that began at `started` (loop time) brought credentials."""
        # By AWS's own clock, counted from before the call: never too long, whatever our wall clock says.
        lifetime = (credentials.expiration - credentials.issued).total_seconds()
        if lifetime <= 0:
            text = f"STS answered with a session that expired {-lifetime:g} s before"
            self.failed(entry, FetchError(kind=FailureKind.TRANSIENT, code="ExpiredOnArrival", message=text))
            return
        if entry.failure is not None:
            logger.info("Credentials are fetched again", extra=_role(entry))
        entry.fetched = Fetched(credentials, started + lifetime)
        entry.refresh_at = started + self._schedule.refresh_after(lifetime)
        entry.refusal = entry.failure = None
        entry.failures = 0
        entry.churning = False
        self._ended(entry, transient=False)
        self._waits.wake(entry.key)

    def failed(self, entry: Entry, error: FetchError) -> None:
        """The call failed."""
        permanent = error.kind is FailureKind.PERMANENT
        before = entry.failure
        entry.failure = Failure(error.kind, error.code, error.message)
        entry.failures += 1
        entry.retry_at = self._time() + self._schedule.retry_after(error.kind, entry.failures)
        if permanent:
            entry.refusal = Refused(error.code, error.message)
        self._ended(entry, transient=not permanent)
        if permanent:
            self._waits.wake(entry.key)
        if before is None or (before.kind, before.code) != (error.kind, error.code):
            what = {"kind": error.kind.value, "code": error.code, "error": error.message}
            logger.warning("Credentials are not fetched", extra=_role(entry) | what)

    def _ended(self, entry: Entry, *, transient: bool) -> None:
        entry.running = False
        self._outage.ended(entry, self._time(), transient=transient)
        if not transient or entry.failures >= _TRANSIENT_TRIES:
            entry.tried = True
            self._first_round.done(entry)
        self._settle(entry)

    # The life of an entry.

    def _entry(self, key: RoleKey, namespace: str) -> Entry:
        entry = self._entries.get(key)
        if entry is None:
            self._created += 1
            churning = self._churn.excessive(namespace, self._time())
            entry = Entry(key, namespace, sequence=self._created, churning=churning)
            self._entries[key] = entry
        return entry

    def _settle(self, entry: Entry) -> None:
        now = self._time()
        if entry.forgettable(now):
            del self._entries[entry.key]
            self._queue.remove(entry)
            self._census.forget(entry)
            self._outage.forget(entry)
            return
        self._queue.place(entry, now)
        self._census.count(entry, now)
        self._dispatcher.wake()


def _role(entry: Entry) -> dict[str, str]:
    return {"role_arn": entry.key.arn, "session_name": entry.key.session_name}
