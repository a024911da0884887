"""Non-blocking limits on the loop's clock: take a token now, or do without.

Where callers should queue for their turn instead, aiolimiter is the tool.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable


class TokenBucket:
    """`rate` tokens a second, at most `burst` of them saved up. Full at the start."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, *, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated = asyncio.get_running_loop().time()

    def try_take(self, cost: float = 1) -> bool:
        """Take `cost` tokens if they are there."""
        now = asyncio.get_running_loop().time()
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        # An interval of 0.1 s at 10 a second is a token, although in binary it comes to a little less.
        if self._tokens + 1e-9 < cost:
            return False
        self._tokens -= cost
        return True


class KeyedBuckets:
    """A bucket for each key, so that one key's use takes nothing from the others.

    At most `keys` buckets are kept; beyond that, the one unused for the longest goes, and would be full when its
    key comes back. So a limit of the whole belongs beside this one wherever keys can be made up.
    """

    def __init__(self, *, rate: float, burst: float, keys: int = 4096) -> None:
        self._rate = rate
        self._burst = burst
        self._keys = keys
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        """How many buckets are kept."""
        return len(self._buckets)

    def try_take(self, key: Hashable, cost: float = 1) -> bool:
        """Take `cost` tokens of `key`'s bucket if they are there."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(rate=self._rate, burst=self._burst)
            if len(self._buckets) > self._keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket.try_take(cost)
