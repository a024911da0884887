"""What tests of watches need: a handler that remembers, a source of configuration, a running reflector."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry

from iam4kube.kube.client import KubeClient
from iam4kube.kube.metrics import KubeMetrics
from iam4kube.kube.reflector import Reflector
from iam4kube.kube.resources import Resource, Watched
from iam4kube.kube.watch_options import EVERYTHING, Selection, WatchLimits

T = TypeVar("T", bound=Watched)


class RememberingHandler(Generic[T]):
    """A handler that keeps what it hears, and lets a test wait for something of it."""

    def __init__(self, *, failing_on: str = "") -> None:
        self.changes: list[tuple[T | None, T | None]] = []
        self.synced_at: list[int] = []
        """How many changes there had been when `synced` was called."""
        self._failing_on = failing_on
        self._news = asyncio.Event()

    def changed(self, old: T | None, new: T | None, /) -> None:
        self.changes.append((old, new))
        self._news.set()
        if new is not None and new.name == self._failing_on:
            raise RuntimeError("a defect")

    def synced(self) -> None:
        self.synced_at.append(len(self.changes))
        self._news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return as soon as `holds`, which is asked after every change, and 20 times a (virtual) second."""
        while not holds():
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._news.wait()

    @property
    def told(self) -> list[str]:
        """The changes in short: `+name`, `~name`, `-name`."""
        return [_in_short(old, new) for old, new in self.changes]


class Watching(Generic[T]):
    """A reflector that runs, its handler and its metrics."""

    def __init__(
        self, client: KubeClient, resource: Resource[T], *, limits: WatchLimits, selection: Selection, failing_on: str
    ) -> None:
        self.registry = CollectorRegistry()
        self.handler: RememberingHandler[T] = RememberingHandler(failing_on=failing_on)
        self.reflector = Reflector(
            client,
            resource,
            self.handler,
            metrics=KubeMetrics(self.registry, program="test"),
            limits=limits,
            selection=selection,
        )

    def count(self, metric: str, **labels: str) -> float:
        """The value of a metric of this watch; 0 if it has none."""
        labels = {"resource": self.reflector.resource.plural, **labels}
        return self.registry.get_sample_value(f"test_{metric}", labels) or 0.0


@asynccontextmanager
async def watching(
    client: KubeClient,
    resource: Resource[T],
    *,
    limits: WatchLimits | None = None,
    selection: Selection = EVERYTHING,
    failing_on: str = "",
) -> AsyncIterator[Watching[T]]:
    """Run a reflector and, beside it, the client's reloading; stop both at the end."""
    watch = Watching(client, resource, limits=limits or WatchLimits(), selection=selection, failing_on=failing_on)
    tasks = [asyncio.create_task(watch.reflector.run()), asyncio.create_task(client.run())]
    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _in_short(old: Watched | None, new: Watched | None) -> str:
    if new is not None:
        return f"{'+' if old is None else '~'}{new.name}"
    return f"-{old.name if old is not None else ''}"
