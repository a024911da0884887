"""How many roles are in which state, and why they fail: counted as they change, so that nothing is ever scanned."""

from collections import Counter

from iam4kube.credentials.entry import Entry, State

_OTHER = "other"
# AWS documents about twenty codes for AssumeRole and all services together. An endpoint that makes some up
# must not make up time series.
_REASONS_AT_MOST = 40


class Census:
    """Counts of roles by state and by the reason of their failure."""

    def __init__(self) -> None:
        self._counted: dict[Entry, tuple[State, str | None]] = {}
        self._reasons: set[str] = set()
        self.states: Counter[State] = Counter()
        self.failing: Counter[str] = Counter()
        """By AWS's error code; roles that are still served from an older session included."""

    def count(self, entry: Entry, now: float) -> None:
        """Count the entry as what it is at this time, and no longer as what it was."""
        current = (entry.state(now), None if entry.failure is None else self._bounded(entry.failure.code))
        if self._counted.get(entry) == current:
            return
        self.forget(entry)
        self._counted[entry] = current
        state, reason = current
        self.states[state] += 1
        if reason is not None:
            self.failing[reason] += 1

    def forget(self, entry: Entry) -> None:
        """The role is gone."""
        counted = self._counted.pop(entry, None)
        if counted is None:
            return
        state, reason = counted
        self.states[state] -= 1
        if reason is not None:
            self.failing[reason] -= 1

    def _bounded(self, code: str) -> str:
        if code not in self._reasons and len(self._reasons) >= _REASONS_AT_MOST:
            return _OTHER
        self._reasons.add(code)
        return code
