"""A laboratory with everything real for the real router: an API server, and kube-proxy where connections go by it.

    async with running_node(lab, control_plane, DATA_PLANES["nftables"], folder=tmp_path) as running:
        assert (await lab.pod("a").connect(METADATA_IPV4, 80)).by == "one"
        await running.real.change(lab.server("two"))
        await running.real.until_answered(by="two")

Its namespaces, Nodes and Services end with it.
"""

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from iam4kube.sandbox.network import METADATA_ADDRESSES
from ip2service.layout import Mode
from tests.support.controlplane import ControlPlane
from tests.support.node_lab import LabServer, NodeLab
from tests.support.node_lab_cluster import Endpoint, LabCluster
from tests.support.node_lab_probes import Outcome
from tests.support.real_proxy import ProxyMode, RealProxy
from tests.support.router_lab import endpoints_of
from tests.support.router_process import ROUTER_PORT, SERVICE, RouterProcess
from tests.support.waiting import eventually

_SECONDS = 20.0  # under a tenth of a second on an idle machine
_PATIENCE = 0.5  # seconds for an answer


@dataclass(frozen=True, kw_only=True)
class DataPlane:
    """Who chooses the server that answers."""

    mode: Mode
    proxy: ProxyMode | None
    """None: there is no kube-proxy on the node."""


DATA_PLANES = {
    "nftables": DataPlane(mode=Mode.SERVICE, proxy=ProxyMode.NFTABLES),
    "iptables": DataPlane(mode=Mode.SERVICE, proxy=ProxyMode.IPTABLES),
    "no-proxy": DataPlane(mode=Mode.ENDPOINTS, proxy=None),
}


class RealRouterLab:
    """What a router needs around it, all real. Use it with `async with`."""

    def __init__(self, lab: NodeLab, control_plane: ControlPlane, data_plane: DataPlane, *, folder: Path) -> None:
        self.lab = lab
        self.data_plane = data_plane
        self.cluster = LabCluster(control_plane)
        self.node = ""
        """The name of the Node object."""
        self.cluster_ips: list[str] = []
        """The Service's, IPv4 first."""
        self._folder = folder
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.cluster)
        self.relay = await self._stack.enter_async_context(self.lab.relay(self.cluster.control_plane.port))
        self.node = await self.cluster.add_node(self.lab.node)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def router(self, *flags: str) -> RouterProcess:
        """A router of this data plane's mode; it runs from `async with` on."""
        return RouterProcess(
            self.lab,
            f"--mode={self.data_plane.mode.value}",
            *flags,
            kubeconfig=self.cluster.control_plane.kubeconfig(self._folder / "router.kubeconfig"),
            node=self.node,
            namespace=self.cluster.namespace,
        )

    @asynccontextmanager
    async def kube_proxy(self) -> AsyncIterator[RealProxy | None]:
        """The node's kube-proxy with its rules written; None where the data plane has none."""
        if self.data_plane.proxy is None:
            yield None
            return
        proxy = RealProxy(self.lab, self.cluster, node=self.node, mode=self.data_plane.proxy, folder=self._folder)
        async with proxy:
            yield proxy

    async def serve(self, *servers: LabServer) -> None:
        """Make the Service, with these servers ready."""
        self.cluster_ips = await self.cluster.create_service(SERVICE, port=ROUTER_PORT)
        await self.change(*servers)

    async def change(self, *servers: LabServer) -> None:
        """Let these be the Service's endpoints, all ready."""
        await self.set_endpoints([endpoint for server in servers for endpoint in endpoints_of(server)])

    async def set_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """Let these be the Service's endpoints."""
        await self.cluster.set_endpoints(SERVICE, endpoints)

    async def delete_service(self) -> None:
        """Delete the Service and its EndpointSlices."""
        await self.cluster.delete_service(SERVICE)

    async def until_answered(self, *, by: str, pod: str = "a") -> None:
        """Wait until a pod's connections of both families are answered by this server. Raises `TimeoutError`."""
        await self._until(pod, lambda outcome: outcome.by == by, what=f"answer by {by}")

    async def until_refused(self) -> None:
        """Wait until a pod's connections of both families are refused. Raises `TimeoutError`."""
        await self._until("a", lambda outcome: outcome.refused, what="refusal")

    async def _until(self, pod: str, holds: Callable[[Outcome], bool], *, what: str) -> None:
        last: list[Outcome] = []

        async def all_hold() -> bool:
            last[:] = [await self.lab.pod(pod).connect(each, 80, timeout=_PATIENCE) for each in METADATA_ADDRESSES]
            return all(map(holds, last))

        try:
            await eventually(all_hold, seconds=_SECONDS)
        except TimeoutError:
            raise TimeoutError(f"no {what} in {_SECONDS:g} s, at last: {last}") from None


@dataclass(frozen=True, kw_only=True)
class Running:
    """A node whose router and kube-proxy lead pods to the server `one`."""

    real: RealRouterLab
    lab: NodeLab
    router: RouterProcess
    proxy: RealProxy | None


@asynccontextmanager
async def running_node(
    lab: NodeLab, control_plane: ControlPlane, data_plane: DataPlane, *flags: str, folder: Path
) -> AsyncIterator[Running]:
    """Everything runs, and pods are served in both families. Nothing was tried here before the router was ready."""
    async with AsyncExitStack() as stack:
        real = await stack.enter_async_context(RealRouterLab(lab, control_plane, data_plane, folder=folder))
        await real.serve(lab.server("one"))
        router = await stack.enter_async_context(real.router(*flags))
        proxy = await stack.enter_async_context(real.kube_proxy())
        await router.until_ready()
        await real.until_answered(by="one")
        yield Running(real=real, lab=lab, router=router, proxy=proxy)


@contextmanager
def paused(process: int) -> Iterator[None]:
    """SIGSTOP a process, by its id: it learns of nothing, and its rules stay. Afterwards it goes on."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)
