"""How many of some measured values are how large: a histogram's numbers, without the lock of the client library."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Distribution:
    """Counts values by upper bounds. Belongs to one event loop; reading from elsewhere sees a moment, more or less."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def include(self, other: "Distribution") -> None:
        """Count all that another one with the same bounds has counted."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts)

    def over(self, bound: float) -> int:
        """How many values are over one of the bounds."""
        return sum(self.counts[self._bounds.index(bound) + 1 :])

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds as Prometheus spells them, and how many values are not above each."""
        names = [str(float(bound)) for bound in self._bounds] + ["+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))
