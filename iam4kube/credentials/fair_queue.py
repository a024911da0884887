"""Namespaces take turns, so that none of them can fill a queue in front of the others."""

from collections import OrderedDict

from iam4kube.credentials.entry import Entry
from iam4kube.credentials.indexed_heap import IndexedHeap, Order


class FairQueue:
    """Entries in order within their namespace; the namespaces in turn, one entry each."""

    def __init__(self) -> None:
        # A namespace is in it while it has entries; the next one's turn is at the front. (A plain dict would
        # scan over all the deleted places at its front.)
        self._turns: OrderedDict[str, IndexedHeap[Entry]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, entry: Entry, order: Order) -> None:
        """Put in an entry that is not in."""
        heap = self._turns.get(entry.namespace)
        if heap is None:
            heap = self._turns[entry.namespace] = IndexedHeap()
        heap.put(entry, order)
        self._length += 1

    def discard(self, entry: Entry) -> None:
        """Take out an entry that is in."""
        heap = self._turns[entry.namespace]
        heap.discard(entry)
        self._length -= 1
        if not heap:
            del self._turns[entry.namespace]

    def pop(self) -> Entry:
        """Take out the first entry of the namespace whose turn it is. Raises KeyError when empty."""
        namespace, heap = self._turns.popitem(last=False)
        entry = heap.pop()
        self._length -= 1
        if heap:
            self._turns[namespace] = heap
        return entry
