"""One role key as the prefetcher knows it, and where in the queue it belongs now.

`standing` is a pure function of the entry and the time, and the only place that decides the order of fetching.
It also says until when its answer holds; the queue asks again then.
"""

import dataclasses
import math
from enum import StrEnum

import msgspec

from iam4kube.credentials.indexed_heap import Order
from iam4kube.credentials.schedule import URGENT_LIFE_LEFT
from iam4kube.credentials.values import Failure, FailureKind, Fetched, Refused
from iam4kube.roles import RoleKey

GRACE = 60.0
"""Seconds that a role nobody wants any more is remembered: a ServiceAccount that is deleted and created again
keeps its credentials, or its back-off."""


class Urgency(StrEnum):
    """The lanes of the fetch queue, in the order in which they are emptied."""

    WAITING = "waiting"
    """Requests wait for the first credentials."""
    RETRY = "retry"
    """Failed before. Only as far as the retries' share of the limiter goes, whoever waits."""
    EXPIRING = "expiring"
    """A refresh with under 28 minutes left; least left first."""
    IN_USE = "in_use"
    """No credentials, and running pods use it."""
    NEW = "new"
    """No credentials."""
    REFRESH = "refresh"
    """A refresh that is due; longest due first."""
    CHURNING = "churning"
    """A new key of a namespace whose keys come and go: after everybody else, whatever waits for it."""


class State(StrEnum):
    """What there is to say of a role in a metric."""

    FRESH = "fresh"
    RETRYING = "retrying"
    """Served, but the refresh fails."""
    PENDING = "pending"
    """No credentials, the fetch has not failed."""
    FAILING = "failing"
    """No credentials, and the last fetch failed for a transient reason."""
    REFUSED = "refused"
    """No credentials, and STS refuses the role."""


class Standing(msgspec.Struct, frozen=True):
    """Where an entry belongs: a lane and its order there, or none; and until when (loop time) that holds."""

    urgency: Urgency | None
    order: Order
    until: float


@dataclasses.dataclass(slots=True, eq=False)
class Entry:
    """The state of one role key. Belongs to the prefetcher. Times are the event loop's, in seconds."""

    key: RoleKey
    namespace: str
    sequence: int
    """Which entry this was: first come, first served within a lane."""
    churning: bool
    holders: int = 0
    pods: int = 0
    waiters: int = 0
    waiting_since: float = math.inf
    unwanted_since: float = 0.0
    running: bool = False
    not_before: float = 0.0
    fetched: Fetched | None = None
    refresh_at: float = 0.0
    refusal: Refused | None = None
    """What STS last said against the role; a success takes it back, transient trouble does not."""
    failure: Failure | None = None
    """Of the last fetch; None when it succeeded or there was none."""
    failures: int = 0
    """In a row."""
    retry_at: float = 0.0
    tried: bool = False
    """A success, a permanent failure or three transient ones: readiness does not wait for it any longer."""

    @property
    def wanted(self) -> bool:
        """Whether a ServiceAccount names it or a request waits for it."""
        return self.holders > 0 or self.waiters > 0

    def unexpired(self, now: float) -> bool:
        """Whether there are credentials to serve."""
        return self.fetched is not None and now < self.fetched.expires_at

    def forgettable(self, now: float) -> bool:
        """Whether nothing is lost with it: not wanted, and either never fetched or over its grace."""
        if self.wanted or self.running:
            return False
        nothing_known = self.fetched is None and self.failure is None
        return nothing_known or now >= self.unwanted_since + GRACE

    def state(self, now: float) -> State:
        """What to count it as."""
        if self.unexpired(now):
            return State.FRESH if self.failure is None else State.RETRYING
        if self.refusal is not None:
            return State.REFUSED
        return State.PENDING if self.failure is None else State.FAILING


def standing(entry: Entry, now: float) -> Standing:
    """Where the entry belongs at this time."""
    if entry.running:
        return _nowhere(math.inf)
    if not entry.wanted:
        return _nowhere(entry.unwanted_since + GRACE)
    if entry.failures:
        return _failed_standing(entry, now)
    if now < entry.not_before:
        return _nowhere(entry.not_before)
    fetched = entry.fetched
    if fetched is None or now >= fetched.expires_at:
        return _standing_without_credentials(entry)
    if now < entry.refresh_at:
        return _nowhere(min(entry.refresh_at, fetched.expires_at))
    urgent_at = fetched.expires_at - URGENT_LIFE_LEFT
    if now < urgent_at:
        return Standing(Urgency.REFRESH, (entry.refresh_at,), urgent_at)
    return Standing(Urgency.EXPIRING, (fetched.expires_at,), fetched.expires_at)


def _failed_standing(entry: Entry, now: float) -> Standing:
    expires_at = entry.fetched.expires_at if entry.fetched is not None and entry.unexpired(now) else math.inf
    if now < entry.retry_at:
        return _nowhere(min(entry.retry_at, expires_at))
    # Within its namespace, trouble that was not the role's own goes before a refusal.
    refused = entry.failure is not None and entry.failure.kind is FailureKind.PERMANENT
    return Standing(Urgency.RETRY, (refused, entry.retry_at), expires_at)


def _standing_without_credentials(entry: Entry) -> Standing:
    if entry.churning:
        return Standing(Urgency.CHURNING, (entry.sequence,), math.inf)
    if entry.waiters:
        return Standing(Urgency.WAITING, (entry.waiting_since,), math.inf)
    return Standing(Urgency.IN_USE if entry.pods else Urgency.NEW, (entry.sequence,), math.inf)


def _nowhere(until: float) -> Standing:
    return Standing(None, (), until)
