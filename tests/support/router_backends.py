"""The router's backends, fed by watches."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from prometheus_client import CollectorRegistry

from iam4kube.kube.client import KubeClient
from iam4kube.kube.metrics import KubeMetrics
from iam4kube.kube.reflector import Reflector
from iam4kube.kube.resources import ENDPOINT_SLICES, SERVICES
from ip2service.backends import Backends
from ip2service.backends_view import BackendsView, FamilyBackends
from ip2service.layout import Family, Layout
from ip2service.problems import ServiceReference


class WatchedBackends:
    """Backends whose watches run."""

    def __init__(self, client: KubeClient, reference: ServiceReference, *, node: str) -> None:
        metrics = KubeMetrics(CollectorRegistry(), program="test")
        self._news = asyncio.Event()
        self.gates: list[bool] = []
        """The IPv4 gate after each change of the view."""
        self.backends = Backends(reference, Layout(), node=node, changed=self._changed)
        self.reflectors: list[Reflector[Any]] = [
            Reflector(
                client,
                SERVICES,
                self.backends.services,
                metrics=metrics,
                selection=self.backends.service_selection,
            ),
            Reflector(
                client,
                ENDPOINT_SLICES,
                self.backends.slices,
                metrics=metrics,
                selection=self.backends.slice_selection,
            ),
        ]

    def _changed(self) -> None:
        self.gates.append(self.ipv4.gate)
        self._news.set()

    @property
    def view(self) -> BackendsView:
        return self.backends.view()

    @property
    def ipv4(self) -> FamilyBackends:
        """What there is of IPv4; nothing before the watches are synced."""
        return self.view.families.get(Family.IPV4, FamilyBackends())

    async def until(self, holds: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Return once `holds`, asked after every change and 200 times in these seconds. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while not holds():
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds / 200):
                        await self._news.wait()


@asynccontextmanager
async def watched_backends(
    client: KubeClient, reference: ServiceReference, *, node: str = "node-a"
) -> AsyncIterator[WatchedBackends]:
    """Run both watches."""
    watched = WatchedBackends(client, reference, node=node)
    tasks = [asyncio.create_task(reflector.run()) for reflector in watched.reflectors]
    try:
        yield watched
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
