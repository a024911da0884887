"""A laboratory with a cluster in memory for the real router: its Node, its Service, and a stand-in for kube-proxy.

async with RouterLab(lab, Mode.SERVICE, folder=tmp_path) as routed:
    await routed.serve(lab.server("one"))
    async with routed.router() as router:
        await router.until_ready()
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from ip2service.layout import Mode
from tests.support.emulated_cluster import CLUSTER_IPS, EmulatedCluster
from tests.support.node_lab import REAL, LabHost, LabServer, NodeLab
from tests.support.node_lab_cluster import Endpoint
from tests.support.node_lab_probes import Outcome, Result
from tests.support.router_process import ROUTER_PORT, SERVICE, RouterProcess
from tests.support.ruled_lab import RuledLab
from tests.support.waiting import eventually

_TRIES = 5


class RouterLab:
    """What a router needs around it. Use it with `async with`."""

    def __init__(self, lab: NodeLab, mode: Mode, *, folder: Path, taints: Sequence[Mapping[str, str]] = ()) -> None:
        self.lab = lab
        self.mode = mode
        self.cluster = EmulatedCluster()
        self.node = ""
        """The name of the Node object."""
        self._taints = taints
        self._kubeconfig = folder / "kubeconfig"
        self._ruled = RuledLab(lab, mode)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.cluster)
        await self._stack.enter_async_context(self.cluster.reachable_from(self.lab))
        self.cluster.kubeconfig(self._kubeconfig)
        self.node = await self.cluster.add_node(self.lab.node, taints=self._taints)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def router(
        self, *flags: str, wrapper: Sequence[str] = (), environ: Mapping[str, str] | None = None
    ) -> RouterProcess:
        """A router of this mode; it runs from `async with` on."""
        return RouterProcess(
            self.lab,
            f"--mode={self.mode.value}",
            *flags,
            kubeconfig=self._kubeconfig,
            node=self.node,
            namespace=self.cluster.namespace,
            wrapper=wrapper,
            environ=environ,
        )

    async def serve(self, *servers: LabServer) -> None:
        """Make the Service, with these servers ready."""
        await self.create_service()
        await self.change(*servers)

    async def create_service(self, addresses: Sequence[str] = CLUSTER_IPS) -> None:
        """Make the Service, as it should be."""
        await self.cluster.create_service(SERVICE, port=ROUTER_PORT, addresses=addresses)

    async def change(self, *servers: LabServer, addresses: Sequence[str] = CLUSTER_IPS) -> None:
        """Let these be the Service's endpoints, all ready, and let kube-proxy know it."""
        await self.proxy(*servers, addresses=addresses)
        await self.set_endpoints(*(endpoint for server in servers for endpoint in endpoints_of(server)))

    async def set_endpoints(self, *endpoints: Endpoint) -> None:
        """Let these be the Service's endpoints; kube-proxy's stand-in is not told."""
        await self.cluster.set_endpoints(SERVICE, endpoints)

    async def proxy(self, *servers: LabServer, addresses: Sequence[str] = CLUSTER_IPS) -> None:
        """Tell kube-proxy's stand-in alone: the Service's cluster IPs lead to the first of these."""
        await self._ruled.proxy(servers, cluster_ips=addresses)

    async def load(self, text: str) -> None:
        """Run one nftables transaction in the node, as any other program could."""
        await self._ruled.load(text)

    async def remove_policy_rules(self) -> None:
        """Take the second guard away, which `nft flush ruleset` leaves."""
        for version in "-4", "-6":
            for priority in "7", "6":
                await self.lab.node.command("ip", version, "rule", "delete", "pref", priority)

    async def connect(self, address: str, *, timeout: float = 2.0) -> Outcome:
        """What a pod gets at the metadata service's address. Never the real one's answer."""
        outcome = await self.lab.pod("a").connect(address, 80, timeout=timeout)
        assert outcome.by != REAL
        return outcome

    async def until_answered(self, address: str, *, by: str) -> None:
        """Wait until a pod's new connections are answered by this server. Raises `TimeoutError`."""

        async def answered() -> bool:
            return (await self.connect(address)).by == by

        await eventually(answered)

    async def until_refused(self, address: str) -> None:
        """Wait until a pod's new connections are refused. Raises `TimeoutError`."""

        async def refused() -> bool:
            return (await self.connect(address)).result is Result.REFUSED

        await eventually(refused)

    async def quickest_refusal(self, address: str) -> float:
        """Seconds of the quickest of a few refusals: the machine may be busy, the kernel is not."""
        outcomes = [await self.connect(address) for _ in range(_TRIES)]
        assert [outcome.result for outcome in outcomes] == [Result.REFUSED] * _TRIES
        return min(outcome.seconds for outcome in outcomes)


def endpoints_of(
    host: LabHost,
    *,
    ready: bool = True,
    serving: bool = True,
    terminating: bool = False,
    node: str | None = None,
    pod: str | None = None,
) -> list[Endpoint]:
    """A host as an endpoint, in both families."""
    return [
        Endpoint(address=address, ready=ready, serving=serving, terminating=terminating, node=node, pod=pod)
        for address in (host.ipv4, host.ipv6)
    ]
