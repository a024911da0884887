"""When a role is fetched again: after a success, after a failure. Seconds throughout."""

import random

import tenacity

from iam4kube.credentials.values import FailureKind

URGENT_LIFE_LEFT = 28 * 60.0
"""A refresh with less life left than this goes ahead of other fetches. No answer shall have less than 25 minutes
left (botocore extends anything nearer to its expiry by guesswork, measured up to 24.3 minutes): the three minutes
between are 1,800 calls at the default rate."""

_REFRESH_EARLIEST = 0.4
_REFRESH_LATEST = 0.5
_REFRESH_FLOOR = 10.0  # whatever a source hands out, a role is not fetched more often than this

_FIRST_RETRY = 1.0
# Peers settled on 1 s to 60 s for trouble that says nothing of the role; half of it, because a share of the
# limiter bounds all retries together anyway, and a request may be waiting.
_TRANSIENT_CEILING = tenacity.wait_exponential(multiplier=_FIRST_RETRY, max=30.0)
# IAM is eventually consistent (a new role is usually there within ten seconds): quick at first, rare later.
_PERMANENT_CEILING = tenacity.wait_exponential(multiplier=_FIRST_RETRY, max=300.0)


class Schedule:
    """Draws the times. `chance` is injected, so that tests can tell what is drawn."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def refresh_after(self, lifetime: float) -> float:
        """How long after the fetch a session of this lifetime is fetched again: 40 to 50 % of it, at random,
        so that roles fetched together at the start drift apart.
        """
        return max(_REFRESH_FLOOR, lifetime * self._chance.uniform(_REFRESH_EARLIEST, _REFRESH_LATEST))

    def retry_after(self, kind: FailureKind, failures: int) -> float:
        """How long to leave a role alone after its `failures`-th failure in a row: exponential with full jitter,
        never under a second; at most 30 s for transient trouble, 5 minutes for a refusal.
        """
        state = tenacity.RetryCallState(_UNUSED, fn=None, args=(), kwargs={})
        state.attempt_number = failures
        ceiling = _PERMANENT_CEILING if kind is FailureKind.PERMANENT else _TRANSIENT_CEILING
        return self._chance.uniform(_FIRST_RETRY, ceiling(state))


_UNUSED = tenacity.Retrying()  # the strategies read nothing but the number of the attempt
