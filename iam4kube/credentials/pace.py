"""How fast STS is called: one limiter for all calls, a share of it for retries, slower for all when throttled."""

from aiolimiter import AsyncLimiter

RETRY_SHARE = 0.2
"""Roles that failed get at most this part of the limiter, even when nobody else needs it: STS throttles by
account, and refusals count."""

_SLOWEST = 16.0  # a sixteenth of the rate: 10 calls per second become one in 1.6 s
_RECOVERY = 0.5  # tokens less per success: back at full speed 30 successes after the slowest
_SLOW_DOWN_INTERVAL = 1.0  # calls sent before the slow-down are throttled too: they say nothing new


class Pace:
    """The limiter: `rate` calls per second with bursts of `burst` (a leaky bucket). Belongs to one event loop.

    When STS throttles, each call costs more than one token: twice as much for every throttled second, up to
    16, and a little less again with every success.
    """

    def __init__(self, *, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._limiter = AsyncLimiter(burst, burst / rate)
        self._slowed_at = float("-inf")
        self.cost = 1.0
        """Tokens that a call takes now: 1 is full speed."""

    async def acquire(self) -> None:
        """Wait until a call may go out. First come, first served."""
        due = self.cost
        while due > 0:  # a limiter gives no more at once than its burst
            amount = min(due, self.burst)
            await self._limiter.acquire(amount)
            due -= amount

    def throttled(self, now: float) -> None:
        """STS throttled a call: everything slows down."""
        if now - self._slowed_at >= _SLOW_DOWN_INTERVAL:
            self._slowed_at = now
            self.cost = min(self.cost * 2, _SLOWEST)

    def succeeded(self) -> None:
        """STS took a call: speed up a little."""
        self.cost = max(1.0, self.cost - _RECOVERY)


class RetryShare:
    """The part of the limiter, and of the calls under way, that roles that failed before may use.

    A token bucket of its own beside the limiter. The bound on calls under way keeps roles whose calls hang
    from holding every slot.
    """

    def __init__(self, *, rate: float, burst: float, slots: int, now: float) -> None:
        self._rate = rate * RETRY_SHARE
        self._burst = max(1.0, burst * RETRY_SHARE)
        self._slots = max(1, int(slots * RETRY_SHARE))
        self._tokens = self._burst
        self._counted_at = now
        self._running = 0

    def open(self, now: float) -> bool:
        """Whether a retry may go out."""
        return self._running < self._slots and self._count(now) >= 1.0

    def opens_at(self, now: float) -> float:
        """When (loop clock) there is a token again; it takes a free slot as well."""
        return now + max(0.0, 1.0 - self._count(now)) / self._rate

    def started(self, cost: float, now: float) -> None:
        """A retry went out. With calls that cost several tokens the bucket goes below zero: the share holds."""
        self._tokens = self._count(now) - cost
        self._running += 1

    def ended(self) -> None:
        """A retry came back."""
        self._running -= 1

    def _count(self, now: float) -> float:
        self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._rate)
        self._counted_at = now
        return self._tokens
