"""The real router on a node in network namespaces, and what is around it: an API server, pods, servers, an observer.

    pod --- node: router, observer --- upstream --- server: a bare application at every numbered address
                     |
                   relay, in this process --- API server

The router has the first core to itself, all the rest shares the last. What the relay adds is in all that is measured.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.cluster import NAMESPACE
from bench.processes import OTHER_CORE, SERVER_CORE, last_words, pinned, process
from bench.router_bare import bare
from bench.router_cluster import NODE, RoutedCluster
from bench.router_notices import NUMBERED
from iam4kube.kube.client import KubeClient
from iam4kube.kube.configuration import Kubeconfig
from iam4kube.sandbox.network import Host, Namespace
from iam4kube.sandbox.network.commands import configure
from ip2service.layout import Mode
from tests.support.node_lab import NodeLab
from tests.support.router_process import RouterProcess

_DEADLINE = 10.0
_SERVER = ("10.2.0.1", "10.2.0.2", "fd00:10:2::1")


class Notices:
    """What the observer in the node has told."""

    def __init__(self) -> None:
        self.reports: list[tuple[float, str]] = []
        """Time (`perf_counter`) and word, as `bench.router_notices` says them."""
        self._waiting: defaultdict[str, list[asyncio.Future[float]]] = defaultdict(list)

    def expected(self, word: str) -> asyncio.Future[float]:
        """The time of the next report of this word."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[word].append(future)
        return future

    async def follow(self, reports: asyncio.StreamReader) -> None:
        """Take over reports until there are no more."""
        async for line in reports:
            time, word = line.decode().split()
            self.reports.append((float(time), word))
            for future in self._waiting.pop(word, ()):
                if not future.done():
                    future.set_result(float(time))


@dataclass(frozen=True, kw_only=True)
class Api:
    """The API server of a measurement."""

    kubeconfig: str
    client: KubeClient
    cluster: RoutedCluster


@dataclass(frozen=True, kw_only=True)
class RoutedNode:
    """A router that is ready, and what it is measured by."""

    lab: NodeLab
    router: RouterProcess
    cluster: RoutedCluster
    notices: Notices

    async def arrival(self, seen: asyncio.Future[float]) -> float:
        """When the kernel told of what is expected. Raises `RuntimeError` with the router's log if it does not."""
        try:
            async with asyncio.timeout(_DEADLINE):
                return await seen
        except TimeoutError:
            log = "\n".join(self.router.output[-20:])
            raise RuntimeError(
                f"a change did not get to the kernel within {_DEADLINE:g} s; the router:\n{log}"
            ) from None


@asynccontextmanager
async def api(kubeconfig: str) -> AsyncIterator[Api]:
    """A writer to this API server, with a watch of its own."""
    async with KubeClient(Kubeconfig(paths=(Path(kubeconfig),)), user_agent="iam4kube-bench") as client:
        cluster = RoutedCluster(client)
        listening = asyncio.create_task(cluster.listen())
        try:
            yield Api(kubeconfig=kubeconfig, client=client, cluster=cluster)
        finally:
            listening.cancel()
            await asyncio.wait([listening])


@asynccontextmanager
async def routed_node(mode: Mode, api: Api, folder: Path) -> AsyncIterator[RoutedNode]:
    """A node whose router is ready, in this mode; there is no kube-proxy."""
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(NodeLab(pods=("a",), servers=()))
        server = _server(lab)
        await stack.enter_async_context(bare("uvicorn", server, folder, core=OTHER_CORE))
        port = urlsplit(api.client.host).port
        assert port is not None
        await stack.enter_async_context(lab.relay(port))
        notices = await stack.enter_async_context(_observed(lab.node.namespace, folder))
        await api.cluster.prepare(lab.node, servers=_SERVER[:2], unused=server.ipv6)
        router = RouterProcess(
            lab, f"--mode={mode.value}", kubeconfig=Path(api.kubeconfig), node=NODE, namespace=NAMESPACE
        )
        with pinned(SERVER_CORE):
            await stack.enter_async_context(router)
        await router.until_ready()
        yield RoutedNode(lab=lab, router=router, cluster=api.cluster, notices=notices)


def _server(lab: NodeLab) -> Host:
    """A server that has all numbered addresses beside its own: it stands for many."""
    server = lab.network.add_server("bare", addresses=_SERVER)
    configure(server.namespace, f"route add local {NUMBERED}.0.0/16 dev lo")
    configure(lab.network.upstream, f"route add {NUMBERED}.0.0/16 via {server.ipv4} dev {server.link} onlink")
    return server


@asynccontextmanager
async def _observed(namespace: Namespace, folder: Path) -> AsyncIterator[Notices]:
    log = folder / "notices.log"
    async with process(["bench.router_notices"], core=OTHER_CORE, log=log, namespace=namespace) as child:
        assert child.stdout is not None
        if await child.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the observer has ended: {last_words(log)}")
        notices = Notices()
        following = asyncio.create_task(notices.follow(child.stdout))
        try:
            yield notices
        finally:
            following.cancel()
            await asyncio.wait([following])
