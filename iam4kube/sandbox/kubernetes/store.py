"""Objects under one growing revision, with the history that watches and later pages are served from.

etcd's part of a control plane. Every write takes the next revision. The state at an earlier revision is the
present one with the later changes undone, so a list that is continued needs no snapshot of its own: only the
history, and that reaches back to the last compaction.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from iam4kube.sandbox.kubernetes.errors import expired
from iam4kube.sandbox.kubernetes.resources import Object, ResourceType

HISTORY_LIMIT = 100_000
"""Changes kept before the oldest are compacted: the upper bound of an API server's watch cache is 102,400."""

_FIRST_REVISION = 1000  # not 0 or 1: a client that mistakes a version for a count is found out


@dataclass(frozen=True, slots=True)
class Change:
    """One write. `old` is None for a creation, `new` for a removal."""

    revision: int
    resource: ResourceType
    key: str
    old: Object | None
    new: Object | None


class Store:
    """All objects of all types. Belongs to one event loop; each write tells the subscribers synchronously."""

    def __init__(self, *, history_limit: int = HISTORY_LIMIT) -> None:
        self.revision = _FIRST_REVISION
        self.compacted = _FIRST_REVISION
        """Everything after this revision is known; what came before is gone."""
        self._objects: dict[ResourceType, dict[str, Object]] = {}
        self._history: deque[Change] = deque()
        self._history_limit = history_limit
        self._subscribers: set[Callable[[Change], None]] = set()

    def get(self, resource: ResourceType, key: str) -> Object | None:
        """The object as stored: not to be changed."""
        return self._objects.get(resource, {}).get(key)

    def put(self, resource: ResourceType, key: str, obj: Object) -> Object:
        """Store `obj` (which becomes the store's own) under the next revision and return it with that."""
        self.revision += 1
        stored = with_revision(obj, self.revision)
        objects = self._objects.setdefault(resource, {})
        old = objects.get(key)
        objects[key] = stored
        self._record(Change(self.revision, resource, key, old, stored))
        return stored

    def remove(self, resource: ResourceType, key: str) -> Object:
        """Remove an object that exists; returns its last state, under the revision of the removal."""
        self.revision += 1
        old = self._objects[resource].pop(key)
        self._record(Change(self.revision, resource, key, old, None))
        return with_revision(old, self.revision)

    def objects(self, resource: ResourceType, *, at: int | None = None) -> dict[str, Object]:
        """All objects of a type by key, now or at an earlier revision. Raises 410 when that is compacted."""
        present = dict(self._objects.get(resource, {}))
        if at is None or at == self.revision:
            return present
        if at < self.compacted:
            raise expired(at, self.compacted)
        for change in reversed(self._history):
            if change.revision <= at:
                break
            if change.resource is resource:
                _undo(present, change)
        return present

    def since(self, resource: ResourceType, revision: int) -> list[Change]:
        """The changes of a type after `revision`. Raises 410 when some of them are compacted."""
        if revision < self.compacted:
            raise expired(revision, self.compacted)
        later = []
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            if change.resource is resource:
                later.append(change)
        later.reverse()
        return later

    def compact(self) -> None:
        """Forget all history: earlier watches and continue tokens are answered with 410 from now on."""
        self._history.clear()
        self.compacted = self.revision

    def advance(self) -> None:
        """Let the revision grow as writes to resources that nobody watches do."""
        self.revision += 1

    def subscribe(self, subscriber: Callable[[Change], None]) -> None:
        """Call `subscriber` synchronously on every later change."""
        self._subscribers.add(subscriber)

    def unsubscribe(self, subscriber: Callable[[Change], None]) -> None:
        """Call it no more."""
        self._subscribers.discard(subscriber)

    def _record(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) > self._history_limit:
            self.compacted = self._history.popleft().revision
        for subscriber in tuple(self._subscribers):
            subscriber(change)


def _undo(objects: dict[str, Object], change: Change) -> None:
    if change.old is None:
        objects.pop(change.key, None)
    else:
        objects[change.key] = change.old


def with_revision(obj: Object, revision: int) -> Object:
    """A copy of the object that carries this revision."""
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}
