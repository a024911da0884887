"""The local copy of one kind's objects, and the handler that hears of each of its changes. Synchronous.

Deleted and created again can look like one update, in a watch and between two lists: only the UID tells.
The handler then hears of two changes, because nothing that was true of the one holds for the other.
"""

import logging
from typing import Generic, Protocol, TypeVar

import msgspec

from iam4kube.kube.decoding import decode_metadata
from iam4kube.kube.errors import OddObject
from iam4kube.kube.metrics import WatchMetrics
from iam4kube.kube.objects import ResourceVersion
from iam4kube.kube.resources import Resource, Watched
from iam4kube.kube.store import OwnedStore

T = TypeVar("T", bound=Watched)
T_contra = TypeVar("T_contra", contravariant=True)

_log = logging.getLogger(__name__)


class Handler(Protocol[T_contra]):
    """Hears of changes, synchronously, on the event loop, in their order. What it raises is logged and counted."""

    def changed(self, old: T_contra | None, new: T_contra | None, /) -> None:
        """Added: `old` is None. Deleted: `new` is None. Both are never None, and their UIDs never differ."""
        ...

    def synced(self) -> None:
        """The first complete list has been delivered. Called once."""
        ...


class Mirror(Generic[T]):
    """Owns the store of one watch."""

    def __init__(self, resource: Resource[T], handler: Handler[T], metrics: WatchMetrics) -> None:
        self._resource = resource
        self._handler = handler
        self._metrics = metrics
        self._unlisted: OwnedStore[T] = OwnedStore()
        self.store: OwnedStore[T] = OwnedStore()

    def begin_list(self) -> None:
        """Until `vanished` is asked for, note what `listed` names."""
        self._unlisted = self.store.copy()

    def listed(self, data: msgspec.Raw) -> None:
        """An item of a list. An odd one counts as not there."""
        new = self._decoded(data)
        if new is not None:
            self._unlisted.take(self._resource.namespace_of(new), new.name)
            self._put(new)

    def vanished(self) -> list[T]:
        """What the list, now complete, did not name."""
        unlisted, self._unlisted = self._unlisted, OwnedStore()
        return unlisted.contents()

    def vanish(self, obj: T) -> None:
        """An object is no more."""
        namespace = self._resource.namespace_of(obj)
        present = self.store.find(namespace, obj.name)
        if present is not None and present.uid == obj.uid:
            self.store.take(namespace, obj.name)
            self._tell(present, None)

    def put(self, data: msgspec.Raw) -> ResourceVersion | None:
        """The object of an ADDED or MODIFIED event; returns its version if it tells one.

        An odd one is removed: better no answer than one from what the object was before.
        """
        new = self._decoded(data)
        if new is None:
            return self.remove(data)
        self._put(new)
        return new.resource_version

    def remove(self, data: msgspec.Raw) -> ResourceVersion | None:
        """The object of a DELETED event; returns its version if it tells one."""
        try:
            metadata = decode_metadata(data)
        except OddObject:
            return None
        present = self.store.find(metadata.namespace, metadata.name)
        if present is not None and present.uid == metadata.uid:
            self.vanish(present)
        return ResourceVersion(metadata.resource_version)

    def tell_synced(self) -> None:
        """Tell the handler that the first list is complete."""
        try:
            self._handler.synced()
        except Exception:  # noqa: BLE001  # a handler's defect must not end the watch
            self._count_handler_error()

    def _decoded(self, data: msgspec.Raw) -> T | None:
        try:
            return self._resource.decode(data)
        except OddObject as error:
            self._metrics.odd_objects.inc()
            _log.warning(
                "Object left out: it is not what its kind says",
                extra={"resource": self._resource.plural, "object": _name_of(data), "error": str(error)},
            )
            return None

    def _put(self, new: T) -> None:
        old = self.store.put(self._resource.namespace_of(new), new.name, new)
        if old is None:
            self._tell(None, new)
        elif old.uid != new.uid:
            self._tell(old, None)
            self._tell(None, new)
        elif old.resource_version != new.resource_version:
            self._tell(old, new)

    def _tell(self, old: T | None, new: T | None) -> None:
        try:
            self._handler.changed(old, new)
        except Exception:  # noqa: BLE001  # a handler's defect must not end the watch
            self._count_handler_error()

    def _count_handler_error(self) -> None:
        self._metrics.handler_errors.inc()
        _log.exception("Handler of a watch failed; the watch goes on", extra={"resource": self._resource.plural})


def _name_of(data: msgspec.Raw) -> str:
    try:
        metadata = decode_metadata(data)
    except OddObject:
        return "unknown"
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name
