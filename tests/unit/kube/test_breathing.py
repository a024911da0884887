"""However much comes at once, the event loop gets its turn in between: nobody waits for a page of 500 pods."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from iam4kube.kube.client import KubeClient, Response
from iam4kube.kube.configuration import Kubeconfig
from iam4kube.kube.metrics import KubeMetrics
from iam4kube.kube.objects import Pod
from iam4kube.kube.reflector import Reflector
from iam4kube.kube.resources import PODS
from tests.support.kube_objects import encoded, pod_json

PODS_AT_ONCE = 1000


class AllAtOnce(KubeClient):
    """A client whose answers are there at once: one page of a thousand pods, and a watch that changes them all."""

    def __init__(self) -> None:
        super().__init__(Kubeconfig(paths=()), user_agent="test")
        self._pods = [encoded(pod_json(index)) for index in range(PODS_AT_ONCE)]

    async def request(self, *_: object, **__: object) -> Response:
        page = b'{"metadata":{"resourceVersion":"1"},"items":[' + b",".join(self._pods) + b"]}"
        return Response(200, {}, page)

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], *, idle_timeout: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._changes()

    async def _changes(self) -> AsyncIterator[bytes]:
        changed = (pod.replace(b'"resourceVersion":"', b'"resourceVersion":"9') for pod in self._pods)
        yield b"".join(b'{"type":"MODIFIED","object":' + pod + b"}\n" for pod in changed)
        await asyncio.Event().wait()


class CountingHandler:
    """Counts the changes since the loop last had its turn, and keeps the worst."""

    def __init__(self) -> None:
        self.worst = self.total = self._since = 0

    def changed(self, _old: Pod | None, _new: Pod | None, /) -> None:
        self._since += 1
        self.total += 1
        self.worst = max(self.worst, self._since)

    def synced(self) -> None:
        pass

    async def tick(self, *, until: int) -> None:
        """Run once in every turn of the loop."""
        while self.total < until:
            self._since = 0
            await asyncio.sleep(0)


async def test_the_loop_breathes() -> None:
    """At most a hundred changes are taken in between two turns, in a list as in a watch."""
    handler = CountingHandler()
    reflector = Reflector(AllAtOnce(), PODS, handler, metrics=KubeMetrics(CollectorRegistry(), program="test"))
    running = asyncio.create_task(reflector.run())
    await handler.tick(until=2 * PODS_AT_ONCE)
    running.cancel()
    assert (handler.total, handler.worst) == (2 * PODS_AT_ONCE, 100)
