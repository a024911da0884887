"""How far the first round of fetching has come: what readiness is decided by."""

import msgspec

from iam4kube.credentials.entry import Entry


class Progress(msgspec.Struct, frozen=True):
    """`known` roles, of which `waiting` have not been tried: neither a success, nor a permanent failure, nor
    three transient ones. `sts_failing`: over half of all calls in the last minute failed transiently.
    """

    known: int
    waiting: int
    sts_failing: bool

    @property
    def tried(self) -> int:
        """How many are done with."""
        return self.known - self.waiting

    @property
    def complete(self) -> bool:
        """Whether nothing here speaks against being ready."""
        return self.waiting == 0 and not self.sts_failing


class FirstRound:
    """The roles that readiness waits for: all that are known, or after `close` those known at that moment."""

    def __init__(self) -> None:
        self._untried: dict[Entry, None] = {}
        self._closed = False

    def added(self, entry: Entry) -> None:
        """A role became known."""
        if not self._closed:
            self._untried[entry] = None

    def done(self, entry: Entry) -> None:
        """A role has been tried, or nobody wants it any more."""
        self._untried.pop(entry, None)

    def close(self) -> None:
        """Roles that are new from now on do not count: nobody can keep a replica from becoming ready by adding some."""
        self._closed = True

    def waiting(self, *, in_use_only: bool) -> int:
        """How many roles have not been tried."""
        if not in_use_only:
            return len(self._untried)
        return sum(1 for entry in self._untried if entry.pods)
