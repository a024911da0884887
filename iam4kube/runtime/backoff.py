"""How long to wait before the next try. tenacity's wait strategies, without its retry loops.

The loops here belong to tasks with other things to do between two tries, so only the delays are taken.
"""

import asyncio
import math

from tenacity import AsyncRetrying, RetryCallState, wait_exponential, wait_random_exponential
from tenacity.wait import wait_base


def delay_and_jitter(*, initial: float, maximum: float) -> wait_base:
    """A delay d that doubles from `initial` to `maximum` seconds, plus up to d more: client-go's [d, 2d).

    For reconnecting: it never comes down to nothing, so a server in trouble gets its pause.
    """
    return wait_exponential(multiplier=initial, max=maximum) + wait_random_exponential(multiplier=initial, max=maximum)


def full_jitter(*, initial: float, maximum: float, minimum: float = 0) -> wait_base:
    """Anything from `minimum` to a limit that doubles from `initial` to `maximum` seconds.

    For many callers of one shared service: it spreads them the most evenly.
    """
    return wait_random_exponential(multiplier=initial, max=maximum, min=minimum)


class Backoff:
    """The delays of one sequence of failures. Belongs to whoever retries, on one event loop."""

    __slots__ = ("_failures", "_quiet_from", "_reset_after", "_wait")

    def __init__(self, wait: wait_base, *, reset_after: float = math.inf) -> None:
        """`reset_after`: seconds without a failure, counted from the end of the last delay, that start afresh.

        client-go means to do so after 2 minutes; as written since 2026 it does every 2 minutes even while the
        server is down (190 tries an hour instead of 85), so the intention is what is followed here.
        """
        self._wait = wait
        self._reset_after = reset_after
        self._failures = 0
        self._quiet_from = -math.inf

    @property
    def failures(self) -> int:
        """Failures since the start or the last reset."""
        return self._failures

    def next_delay(self) -> float:
        """Count a failure, and return the seconds to wait before the next try."""
        now = asyncio.get_running_loop().time()
        if now - self._quiet_from > self._reset_after:
            self.reset()
        self._failures += 1
        attempt = RetryCallState(_NO_LOOP, None, (), {})
        attempt.attempt_number = self._failures
        delay = self._wait(attempt)
        self._quiet_from = now + delay
        return delay

    def reset(self) -> None:
        """The next failure is the first again."""
        self._failures = 0


_NO_LOOP = AsyncRetrying()  # a strategy is asked through the state of a retry loop, of which it reads the attempt only


def reconnect_backoff() -> Backoff:
    """For watches and connections, as client-go's reflector: 0.8 s, doubling to 30 s, each up to twice as long."""
    return Backoff(delay_and_jitter(initial=0.8, maximum=30), reset_after=120)
