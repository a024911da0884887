"""Tenants whose keys come and go: patching annotations or recreating ServiceAccounts in a loop gains nothing.

Two bounds. A ServiceAccount's new key is fetched at once, but not within ten seconds of its last first fetch.
And a namespace pays for every key that goes; one that has nothing left to pay with has its new keys fetched
after everybody else's work. (Keys that only come, as thousands do at the start, cost nothing.)
"""

from collections import OrderedDict

from iam4kube.roles import SessionName

RESTART_INTERVAL = 10.0
"""Seconds between the first fetches of two keys of one ServiceAccount."""

_ALLOWANCE = 20.0  # keys of a namespace that may go at once: a Helm upgrade
_REGAINED_PER_SECOND = 0.1  # one in ten seconds: a hundredth of the default rate
_SWEEP_ABOVE = 1000


class Restarts:
    """Remembers for ten seconds which ServiceAccounts had a first fetch. Bounded by the limiter in front of it."""

    def __init__(self) -> None:
        self._last: OrderedDict[SessionName, float] = OrderedDict()

    def allowed_at(self, name: SessionName, now: float) -> float:
        """When (loop clock) this ServiceAccount's next new key may be fetched; in the past for at once."""
        while self._last and next(iter(self._last.values())) <= now - RESTART_INTERVAL:
            self._last.popitem(last=False)
        last = self._last.get(name)
        return now if last is None else last + RESTART_INTERVAL

    def started(self, name: SessionName, now: float) -> None:
        """A key of this ServiceAccount is fetched for the first time."""
        self._last[name] = now
        self._last.move_to_end(name)


class Churn:
    """What each namespace owes for keys that went. Only debtors are remembered."""

    def __init__(self) -> None:
        self._owing: dict[str, tuple[float, float]] = {}

    def charge(self, namespace: str, now: float) -> None:
        """A key of this namespace is not wanted any more."""
        self._owing[namespace] = (min(self._debt(namespace, now) + 1.0, 2 * _ALLOWANCE), now)
        if len(self._owing) > _SWEEP_ABOVE:
            self._owing = {name: owing for name, owing in self._owing.items() if self._debt(name, now) > 0}

    def excessive(self, namespace: str, now: float) -> bool:
        """Whether this namespace's new keys have to wait for everybody else's work."""
        return self._debt(namespace, now) >= _ALLOWANCE

    def _debt(self, namespace: str, now: float) -> float:
        debt, since = self._owing.get(namespace, (0.0, now))
        return max(0.0, debt - (now - since) * _REGAINED_PER_SECOND)
