"""Which occurrences become events: few, however many there are. client-go's core/v1 pipeline, without any I/O.

    aggregate  ->  count  ->  spam filter

Ten different messages of one reason about one object within ten minutes are one combined event from then on;
the same message again raises the count of its event; and one object can cause no more than 25 requests in a
burst, and one every five minutes afterwards.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Literal, TypeVar

from iam4kube.runtime.limits import KeyedBuckets

EventType = Literal["Normal", "Warning"]
Value = TypeVar("Value")

# client-go, tools/record/events_cache.go
REMEMBERED: Final = 4096
AGGREGATED_FROM: Final = 10
"""Different messages."""
AGGREGATION_WINDOW: Final = 600.0
"""Seconds since the last similar occurrence."""
BURST: Final = 25
REFILL: Final = 1 / 300
"""A second."""

# The API server's limits: a message has 1024 bytes (pkg/apis/core/validation/events.go), a name 253 characters.
_MESSAGE_LIMIT = 1024
_NAME_LIMIT = 253
_SUFFIX_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class ObjectReference:
    """What an event is about."""

    kind: str
    namespace: str
    """Empty for a cluster-scoped kind."""
    name: str
    uid: str
    api_version: str = "v1"


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """Something that happened once."""

    regarding: ObjectReference
    type: EventType
    reason: str
    message: str
    at: datetime


@dataclass(kw_only=True)
class EventRecord:
    """An event as the API server knows it, or is about to."""

    name: str
    first: Occurrence
    message: str
    count: int
    last_at: datetime


class Correlator:
    """Owns what is remembered of earlier occurrences. Its clock, in seconds, is the one of the event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._similar: _Memory[_Similar] = _Memory()
        self._records: _Memory[EventRecord] = _Memory()
        self._buckets = KeyedBuckets(rate=REFILL, burst=BURST, keys=REMEMBERED)

    def correlate(self, occurrence: Occurrence) -> EventRecord | None:
        """The event to create (its count is 1) or to update; None: it is only counted here."""
        key, message = self._aggregate(occurrence)
        record = self._count(key, occurrence, message)
        if self._buckets.try_take((occurrence.regarding, occurrence.type)):
            return record
        return None

    def _aggregate(self, occurrence: Occurrence) -> tuple[Hashable, str]:
        """The key under which the occurrence counts, and its message there."""
        key = (occurrence.regarding, occurrence.type, occurrence.reason)
        message = shortened(occurrence.message)
        now = self._clock()
        similar = self._similar.get(key)
        if similar is None or now - similar.last > AGGREGATION_WINDOW:
            similar = _Similar(messages=OrderedDict(), last=now)
        similar.last = now
        similar.messages[message] = None
        self._similar.put(key, similar)
        if len(similar.messages) < AGGREGATED_FROM:
            return (key, message), message
        similar.messages.popitem(last=False)
        return key, shortened(f"(combined from similar events): {message}")

    def _count(self, key: Hashable, occurrence: Occurrence, message: str) -> EventRecord:
        record = self._records.get(key)
        if record is None:
            record = EventRecord(
                name=event_name(occurrence.regarding), first=occurrence, message=message, count=0, last_at=occurrence.at
            )
        record.count += 1
        record.message = message
        record.last_at = occurrence.at
        self._records.put(key, record)
        return record


def event_name(regarding: ObjectReference) -> str:
    """A new name, unique by chance, which begins with the object's as far as there is room."""
    room = _NAME_LIMIT - _SUFFIX_DIGITS - 1
    return f"{regarding.name[:room].rstrip('-.')}.{secrets.token_hex(_SUFFIX_DIGITS // 2)}"


def shortened(message: str) -> str:
    """The message in at most 1024 bytes: the middle goes, because both ends tell the most."""
    data = message.encode(errors="replace")
    if len(data) <= _MESSAGE_LIMIT:
        return message
    half = (_MESSAGE_LIMIT - len("…".encode())) // 2
    return f"{data[:half].decode(errors='ignore')}…{data[-half:].decode(errors='ignore')}"


@dataclass(kw_only=True)
class _Similar:
    """The different messages of one reason about one object."""

    messages: OrderedDict[str, None]
    last: float


class _Memory(Generic[Value]):
    """The values used last, as many as client-go remembers."""

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > REMEMBERED:
            self._values.popitem(last=False)
