"""List and watch: one kind of object, mirrored here and kept fresh for as long as the process lives.

    list, page by page  ->  watch from the list's version  ->  (it ends: in good order every 5 to 10 minutes)
          ^                         ^        |                        |
          |                         +--------+--- again, from the last version that was heard
          +---- the version has expired (410), or the answer makes no sense

The behaviour of client-go's reflector, with three differences. Every list is a consistent one: a stale
answer to "who has this address" is a credential leak. A watch that is silent for longer than bookmarks
allow is dropped: a half-open connection says nothing for ever. And what passes by itself (refused
connections, 429, 503, a missing permission) never costs a new list of 150,000 pods.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from math import inf
from typing import Generic, Never, TypeVar

import msgspec

from iam4kube.kube import wire
from iam4kube.kube.client import KubeClient
from iam4kube.kube.errors import KubeError, ShortWatch, decoded, status_error
from iam4kube.kube.lines import lines_of
from iam4kube.kube.metrics import KubeMetrics
from iam4kube.kube.mirror import Handler, Mirror
from iam4kube.kube.objects import ResourceVersion
from iam4kube.kube.resources import Resource, Watched
from iam4kube.kube.store import Store
from iam4kube.kube.watch_options import DEFAULT_LIMITS, EVERYTHING, Delays, Selection, WatchLimits
from iam4kube.runtime.backoff import reconnect_backoff

T = TypeVar("T", bound=Watched)
Item = TypeVar("Item")

_log = logging.getLogger(__name__)

# Items between two breaths of the event loop: 100 take 1 to 3 ms with decoding and handlers.
_SLICE = 100

_pages = msgspec.json.Decoder(wire.Page)
_events = msgspec.json.Decoder(wire.WatchEvent)
_statuses = msgspec.json.Decoder(wire.Status)
_bookmarks = msgspec.json.Decoder(wire.Bookmark)


class Reflector(Generic[T]):
    """Owns the mirror of one kind of object. `run` keeps it; everything else reads it."""

    def __init__(
        self,
        client: KubeClient,
        resource: Resource[T],
        handler: Handler[T],
        *,
        metrics: KubeMetrics,
        backoff: Delays | None = None,
        selection: Selection = EVERYTHING,
        limits: WatchLimits = DEFAULT_LIMITS,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._client = client
        self._resource = resource
        self._backoff = backoff or reconnect_backoff()
        self._selection = selection
        self._limits = limits
        self._uniform = uniform
        self._metrics = metrics.watch(resource.plural, age=self.age, objects=lambda: len(self.store))
        self._mirror = Mirror(resource, handler, self._metrics)
        self._version: ResourceVersion | None = None
        self._heard = 0  # events and bookmarks since the last list
        self._heard_at = -inf
        self._synced = False
        self._problem = ""

    @property
    def resource(self) -> Resource[T]:
        """What is watched."""
        return self._resource

    @property
    def store(self) -> Store[T]:
        """All objects as last heard of, by `namespace/name`."""
        return self._mirror.store

    @property
    def synced(self) -> bool:
        """Whether a first complete list has been delivered. Never false again."""
        return self._synced

    @property
    def listing(self) -> bool:
        """Whether a list is under way or due: its items come in no order of time, and what vanished comes last."""
        return self._version is None

    @property
    def problem(self) -> str:
        """The last failure, while nothing has succeeded since; empty if all is well. For people."""
        return self._problem

    def age(self) -> float:
        """Seconds for which the store may be behind: since the last event or bookmark, or since the server last
        took a watch up without complaint, or since the last list's beginning.

        Infinite before the first complete list.
        """
        return asyncio.get_running_loop().time() - self._heard_at

    @property
    def heard_at(self) -> float:
        """The loop time at which `age` was zero; minus infinity before the first complete list."""
        return self._heard_at

    async def run(self) -> Never:
        """List, watch, and begin again, whatever happens."""
        while True:
            version = self._version
            try:
                if version is None:
                    await self._list()
                else:
                    await self._watch(version)
            except KubeError as error:
                await asyncio.sleep(self._delay_after(error, verb="list" if version is None else "watch"))

    async def _list(self) -> None:
        started = asyncio.get_running_loop().time()
        self._mirror.begin_list()
        page = await self._list_page("")
        while page.continue_:
            page = await self._list_page(page.continue_)
        await self._in_slices(self._mirror.vanished(), self._mirror.vanish)
        self._version = ResourceVersion(page.resource_version)
        self._heard_at = started
        self._heard = 0
        self._problem = ""
        seconds = asyncio.get_running_loop().time() - started
        self._metrics.list_seconds.observe(seconds)
        fields = {"resource": self._resource.plural, "objects": len(self.store), "seconds": round(seconds, 3)}
        _log.info("Listed", extra=fields)
        if not self._synced:
            self._synced = True
            self._mirror.tell_synced()

    async def _list_page(self, token: str) -> wire.ListMeta:
        """Take in one page; returns what it says of the list."""
        query = self._selection.query() | {"limit": str(self._limits.page_size)}
        if token:
            query["continue"] = token
        response = await self._client.request("GET", self._path, query, timeout=self._limits.list_timeout)
        page = decoded(_pages, response.checked())
        await self._in_slices(page.items or (), self._mirror.listed)
        return page.metadata

    async def _watch(self, version: ResourceVersion) -> None:
        """Follow the changes after `version` until the server ends the watch in good order."""
        opened, heard_before = asyncio.get_running_loop().time(), self._heard
        query = self._selection.query() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(round(self._uniform(*self._limits.watch_seconds))),
        }
        async with self._client.stream(self._path, query, idle_timeout=self._limits.idle_timeout) as pieces:
            self._problem = ""
            proof = asyncio.get_running_loop().call_later(self._limits.proven_after, self._hear)
            try:
                async for lines in lines_of(pieces):
                    await self._in_slices(lines, self._take)
            finally:
                proof.cancel()
        seconds = asyncio.get_running_loop().time() - opened
        if self._heard == heard_before and seconds < self._limits.short_watch:
            raise ShortWatch("the server ended the watch at once, without an event")

    def _take(self, line: bytes) -> None:
        """One event. Raises `KubeRefused` for an ERROR, `OddObject` for what is no event."""
        event = decoded(_events, line)
        version: str | None = None
        if event.type in ("ADDED", "MODIFIED"):
            version = self._mirror.put(event.object)
        elif event.type == "DELETED":
            version = self._mirror.remove(event.object)
        elif event.type == "BOOKMARK":
            version = decoded(_bookmarks, event.object).metadata.resource_version
        elif event.type == "ERROR":
            raise status_error(decoded(_statuses, event.object))
        self._metrics.events.inc()
        self._hear()
        self._heard += 1
        if version is not None:
            self._version = ResourceVersion(version)

    def _hear(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()

    def _delay_after(self, error: KubeError, *, verb: str) -> float:
        """Decide how to go on after a failure; returns the seconds to wait before."""
        self._metrics.failed(error.kind)
        self._problem = f"{verb} {self._resource.plural}: {error}"
        expired_in_use = error.kind == "expired" and self._heard > 0
        if error.needs_list:
            self._version, self._heard = None, 0
        fields: dict[str, object] = {"verb": verb, "resource": self._resource.plural, "error": str(error)}
        if expired_in_use:  # the normal fate of a version; one that expires right after its list is not normal
            _log.debug("Watch expired; listing again", extra=fields)
            return 0.0
        if error.kind == "silent" and verb == "watch":  # half-open, or nobody writes to this kind
            _log.debug("Watch was silent; watching anew", extra=fields)
            return 0.0
        delay = max(self._backoff.next_delay(), error.retry_after)
        fields["retry_seconds"] = round(delay, 1)
        if error.kind == "forbidden":
            fields["api_group"] = self._resource.group
            _log.warning("Permission missing: grant this verb on this resource in a Role or ClusterRole", extra=fields)
        else:
            _log.warning("List or watch failed", extra=fields)
        return delay

    @property
    def _path(self) -> str:
        return self._resource.collection_path(self._selection.namespace)

    async def _in_slices(self, items: Sequence[Item], take: Callable[[Item], object]) -> None:
        """Take items in, and let the event loop breathe in between."""
        for start in range(0, len(items), _SLICE):
            for item in items[start : start + _SLICE]:
                take(item)
            if start + _SLICE <= len(items):
                await asyncio.sleep(0)
