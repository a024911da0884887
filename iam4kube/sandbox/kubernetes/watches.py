"""Watch streams: one JSON line per change, bookmarks in between, an end in good order when time is up.

Each stream has a queue of its own that the store fills synchronously. So a change is on its way the moment it
is written, and a compaction does not touch streams that are open. As the real server does, a stream whose
reader cannot keep up is ended. Unlike the real one, this sends a bookmark even when the revision is still the one
that the watch began with: in a real cluster something is always written.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

import msgspec

from iam4kube.sandbox.kubernetes.errors import ApiError
from iam4kube.sandbox.kubernetes.requests import ApiRequest
from iam4kube.sandbox.kubernetes.resources import Object, ResourceType
from iam4kube.sandbox.kubernetes.selectors import selector
from iam4kube.sandbox.kubernetes.store import Change, Store, with_revision

_QUEUE_LIMIT = 10_000
_DEFAULT_TIMEOUT = 1800.0  # seconds, when the client names none: --min-request-timeout of the API server
_LAST_BOOKMARK = 2.0  # seconds before the end: k8s.io/apiserver/pkg/storage/cacher, newBookmarkTimer


@dataclass(frozen=True)
class Bookmark:
    """Everything up to this revision has been sent."""

    revision: int


class End:
    """The stream ends in good order, as when its API server is stopped."""


class Reset:
    """The connection is closed without an end of the body."""


Item: TypeAlias = Change | Bookmark | ApiError | End | Reset


class StreamReset(Exception):
    """Close the connection in the middle of the body."""


class WatchStream:
    """One watch: its HTTP handler reads `lines`, everything else is called synchronously from outside."""

    def __init__(self, store: Store, request: ApiRequest, *, bookmark_period: float) -> None:
        self.request = request
        self._store = store
        self._bookmark_period = bookmark_period if request.flag("allowWatchBookmarks") else inf
        self._queue: asyncio.Queue[Item] = asyncio.Queue(_QUEUE_LIMIT)
        self._overflown = False
        self._selects = selector(
            request.resource, labels=request.text("labelSelector"), fields=request.text("fieldSelector")
        )
        self._backlog: list[Change] = []

    def open(self) -> None:
        """Take part in every change from now on, after those that the request asks for. Raises 410."""
        version = self.request.number("resourceVersion")
        if version == 0:
            present = self._store.objects(self.request.resource)
            self._backlog = [_as_creation(self.request.resource, key, present[key]) for key in sorted(present)]
        else:
            self._backlog = self._store.since(self.request.resource, version)
        self._store.subscribe(self._hear)

    def close(self) -> None:
        """Hear of nothing more."""
        self._store.unsubscribe(self._hear)

    def offer(self, item: Item) -> None:
        """Put something into the stream, behind all that was written before."""
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            self._overflown = True

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The stream's lines, until its time is up. Raises `StreamReset`."""
        for change in self._backlog:
            if (line := self._change_line(change)) is not None:
                yield line
        self._backlog.clear()
        async with aclosing(self._items()) as items:
            async for item in items:
                if isinstance(item, End):
                    return
                if isinstance(item, Reset):
                    raise StreamReset
                if (line := self._line(item)) is not None:
                    yield line
                if isinstance(item, ApiError):
                    return

    async def _items(self) -> AsyncGenerator[Item, None]:
        """What is put into the queue, with bookmarks where they are due, until time is up."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (self.request.number("timeoutSeconds") or _DEFAULT_TIMEOUT)
        bookmark = self._next_bookmark(loop.time(), end)
        while not self._overflown:
            try:
                async with asyncio.timeout_at(min(bookmark, end)):
                    item = await self._queue.get()
            except TimeoutError:
                if loop.time() >= end:
                    return
                bookmark = self._next_bookmark(loop.time(), end)
                item = Bookmark(self._store.revision)
            yield item

    def _next_bookmark(self, now: float, end: float) -> float:
        regular, last = now + self._bookmark_period, end - _LAST_BOOKMARK
        if self._bookmark_period == inf or now >= last:
            return regular if regular < end else inf
        return min(regular, last)

    def _hear(self, change: Change) -> None:
        if change.resource is self.request.resource:
            self.offer(change)

    def _line(self, item: Change | Bookmark | ApiError) -> bytes | None:
        if isinstance(item, Change):
            return self._change_line(item)
        if isinstance(item, Bookmark):
            return _encode("BOOKMARK", _bookmark_object(self.request.resource, item.revision))
        return _encode("ERROR", item.status())

    def _change_line(self, change: Change) -> bytes | None:
        """The event as this watch sees it: what begins or ceases to match its selectors comes or goes."""
        before = change.old if self._is_mine(change.old) else None
        after = change.new if self._is_mine(change.new) else None
        if after is not None:
            return _encode("ADDED" if before is None else "MODIFIED", after)
        if before is not None:
            return _encode("DELETED", with_revision(before, change.revision))
        return None

    def _is_mine(self, obj: Object | None) -> bool:
        if obj is None:
            return False
        metadata, request = obj["metadata"], self.request
        if request.namespace is not None and metadata.get("namespace") != request.namespace:
            return False
        if request.name and metadata["name"] != request.name:
            return False
        return self._selects(obj)


def _as_creation(resource: ResourceType, key: str, obj: Object) -> Change:
    return Change(int(obj["metadata"]["resourceVersion"]), resource, key, None, obj)


def _bookmark_object(resource: ResourceType, revision: int) -> Object:
    metadata = {"resourceVersion": str(revision), "creationTimestamp": None}
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}


def _encode(event_type: str, obj: Object) -> bytes:
    return msgspec.json.encode({"type": event_type, "object": obj}) + b"\n"
