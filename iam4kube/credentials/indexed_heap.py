"""A priority queue whose members can be moved and taken out: the one data structure under all the queues here.

`heapq` with lazy deletion: an item's former places stay in the heap until they come up, or until they are more
than half of it; then the heap is rebuilt. Every operation is O(log n), amortised.
"""

import heapq
from typing import Generic, TypeVar

Item = TypeVar("Item")
Order = tuple[float, ...]


class IndexedHeap(Generic[Item]):
    """Items by ascending order; equal orders first in, first out. Items are told apart by their hash."""

    def __init__(self) -> None:
        self._heap: list[tuple[Order, int, Item]] = []
        self._places: dict[Item, int] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._places)

    def put(self, item: Item, order: Order) -> None:
        """Put an item in, or move it."""
        self._sequence += 1
        self._places[item] = self._sequence
        heapq.heappush(self._heap, (order, self._sequence, item))
        if len(self._heap) > 2 * len(self._places) + 16:
            self._rebuild()

    def discard(self, item: Item) -> None:
        """Take an item out, if it is in."""
        self._places.pop(item, None)

    def first_order(self) -> Order | None:
        """The order of the first item; None when empty."""
        self._clear_front()
        return self._heap[0][0] if self._heap else None

    def pop(self) -> Item:
        """Take the first item out. Raises IndexError when empty."""
        self._clear_front()
        item = heapq.heappop(self._heap)[2]
        del self._places[item]
        return item

    def _clear_front(self) -> None:
        while self._heap and self._places.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)

    def _rebuild(self) -> None:
        self._heap = [place for place in self._heap if self._places.get(place[2]) == place[1]]
        heapq.heapify(self._heap)
