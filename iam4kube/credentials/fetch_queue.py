"""Which role is fetched next. Keeps every entry where `entry.standing` says, and asks again when that ends.

No event is followed by a scan: an entry moves when it changed or when its own time has come, in O(log n).
"""

import math
from typing import Protocol

from iam4kube.credentials.entry import Entry, Urgency, standing
from iam4kube.credentials.fair_queue import FairQueue
from iam4kube.credentials.indexed_heap import IndexedHeap, Order

# So many entries whose time has come are moved at once (4 ms); more of them wait for the next step, which is
# at most a limiter's token away. The event loop must never be blocked for over 20 ms.
_MOVES_AT_ONCE = 500


class _Lane(Protocol):
    def __len__(self) -> int: ...
    def put(self, item: Entry, order: Order, /) -> None: ...
    def discard(self, item: Entry, /) -> None: ...
    def pop(self) -> Entry: ...


class FetchQueue:
    """The lanes, and the times at which entries change lanes. The caller places an entry after every change."""

    def __init__(self) -> None:
        # Refreshes are in order of time alone: a role is refreshed once in its session's half-life, so no
        # namespace can crowd out another there.
        self._lanes: dict[Urgency, _Lane] = {
            urgency: IndexedHeap() if urgency in (Urgency.EXPIRING, Urgency.REFRESH) else FairQueue()
            for urgency in Urgency
        }
        self._places: dict[Entry, tuple[_Lane, Order]] = {}
        self._times: IndexedHeap[Entry] = IndexedHeap()

    def place(self, entry: Entry, now: float) -> None:
        """Put the entry where it belongs at this time. One that is there already keeps its turn."""
        wanted = standing(entry, now)
        place = None if wanted.urgency is None else (self._lanes[wanted.urgency], wanted.order)
        if place != self._places.get(entry):
            self._leave_lane(entry)
            if place is not None:
                lane, order = place
                lane.put(entry, order)
                self._places[entry] = place
        if wanted.until < math.inf:
            self._times.put(entry, (wanted.until,))
        else:
            self._times.discard(entry)

    def remove(self, entry: Entry) -> None:
        """Take the entry out, wherever it is."""
        self._leave_lane(entry)
        self._times.discard(entry)

    def _leave_lane(self, entry: Entry) -> None:
        place = self._places.pop(entry, None)
        if place is not None:
            place[0].discard(entry)

    def changing(self, now: float) -> list[Entry]:
        """Take out the entries whose time has come: the caller places them anew."""
        entries: list[Entry] = []
        while len(entries) < _MOVES_AT_ONCE:
            order = self._times.first_order()
            if order is None or order[0] > now:
                break
            entries.append(self._times.pop())
        return entries

    def pick(self, *, retries: bool) -> Entry | None:
        """Take out the entry that is to be fetched next; None when there is none. `retries` tells whether the
        roles that failed before may have a turn.
        """
        for urgency, lane in self._lanes.items():
            if lane and (retries or urgency is not Urgency.RETRY):
                entry = lane.pop()
                del self._places[entry]
                self._times.discard(entry)
                return entry
        return None

    def has(self, *, retries: bool) -> bool:
        """Whether `pick` would find an entry."""
        return any(lane and (retries or urgency is not Urgency.RETRY) for urgency, lane in self._lanes.items())

    @property
    def next_change(self) -> float:
        """The time (loop clock) at which the next entry changes lanes; infinity for never."""
        order = self._times.first_order()
        return math.inf if order is None else order[0]

    def lengths(self) -> dict[str, int]:
        """How many entries each lane holds."""
        return {urgency.value: len(lane) for urgency, lane in self._lanes.items()}
