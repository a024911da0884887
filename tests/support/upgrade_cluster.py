"""A small cluster with everything real but the kubelets, and in it what `kubectl apply -k` installs.

    with Controllers(control_plane, folder):
        async with UpgradeCluster(control_plane, folder) as cluster:
            await cluster.install(settings)
            await cluster.start_clients()
            await cluster.kubectl("rollout", "restart", "deployment/iam4kube", "--namespace=iam4kube")

Two nodes for servers, labelled and tainted as the manifests expect it; two workers with kube-proxy and all clients.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from iam4kube.sandbox.sts.server import Sts
from tests.support.commands import run_to_end
from tests.support.controlplane import ControlPlane
from tests.support.node_agent import NodeAgent
from tests.support.node_agent_api import Object
from tests.support.node_agent_cluster import WORKERS, AgentCluster
from tests.support.node_agent_images import Images
from tests.support.node_agent_pod import PodWorker, Surroundings
from tests.support.upgrade_client_pods import CLIENTS, SHOP, client_objects
from tests.support.upgrade_programs import ROUTER, SERVER, images
from tests.support.upgrade_records import Request, requests_of

SERVER_LABEL = "node-role.kubernetes.io/iam4kube"
_MANIFESTS = Path(__file__).parents[2] / "manifests"
_POLL = 0.1
_SECONDS = 60.0


class UpgradeCluster(AgentCluster):
    """The cluster. Use it with `async with`, in the test itself."""

    def __init__(self, control_plane: ControlPlane, folder: Path) -> None:
        super().__init__(control_plane, folder, sts=Sts(), server_nodes=("server-1", "server-2"))
        self._kubeconfig = control_plane.kubeconfig(folder / "admin.kubeconfig")

    async def install(self, changes: Object, *, manifests: str = "base") -> None:
        """Apply a folder of the manifests with a patch of the Deployment, and wait until all of it runs."""
        overlay = self.folder / "overlay"
        overlay.mkdir()
        base = os.path.relpath(_MANIFESTS / manifests, overlay.resolve())  # noqa: ASYNC240  # kustomize takes no other
        target = {"kind": "Deployment", "name": SERVER}
        kustomization = {
            "resources": [base],
            "patches": [{"target": target, "patch": json.dumps(changes | _named(target))}],
        }
        (overlay / "kustomization.yaml").write_text(json.dumps(kustomization))
        await self.kubectl("apply", f"--kustomize={overlay}")
        await self.until_rolled_out(f"daemonset/{ROUTER}", namespace=ROUTER)
        await self.until_rolled_out(f"deployment/{SERVER}", namespace=SERVER)

    async def start_clients(self) -> None:
        """Start all clients, and wait until each has been answered."""
        for path, obj in client_objects():
            await self.api.ask("POST", path, obj)
        for kind, name in CLIENTS:
            await self.until_rolled_out(f"{kind}/{name}", namespace=SHOP)

        async def all_answered() -> bool:
            workers = self.pods(SHOP)
            return all(" ok\n" in worker.log for worker in workers)

        await eventually(all_answered)

    def requests(self) -> list[Request]:
        """What all clients have written so far."""
        return [request for worker in self.pods(SHOP) for request in requests_of(worker.name, worker.log)]

    def pods(self, namespace: str, component: str | None = None) -> list[PodWorker]:
        """The pods of a namespace that are on nodes now, all or those of one component."""
        return [
            worker for node in self.nodes.values() for worker in node.present if _is_of(worker, namespace, component)
        ]

    def all_pods(self, namespace: str, component: str | None = None) -> list[PodWorker]:
        """Those, and all that were."""
        return [
            worker for node in self.nodes.values() for worker in node.workers if _is_of(worker, namespace, component)
        ]

    async def kubectl(self, *arguments: str, code: int = 0) -> str:
        """Run kubectl as the administrator; returns what it wrote. `AssertionError` for another exit code."""
        ended = await run_to_end(
            *(str(self.control_plane.program("kubectl")), f"--kubeconfig={self._kubeconfig}", *arguments),
            environment={"HOME": str(self.folder), "PATH": os.environ["PATH"]},
            errors_apart=False,
            seconds=2 * _SECONDS,  # kubectl's own timeout comes first, and says more
        )
        assert ended.code == code, f"{arguments}: {ended.output}{self._unready()}"
        return ended.output

    async def until_rolled_out(self, what: str, *, namespace: str) -> None:
        """Wait for a rollout's end. `AssertionError` when it takes too long."""
        await self.kubectl("rollout", "status", what, f"--namespace={namespace}", f"--timeout={_SECONDS:g}s")

    async def restart(self, what: str, *, namespace: str) -> None:
        """`kubectl rollout restart`, and wait for its end."""
        await self.kubectl("rollout", "restart", what, f"--namespace={namespace}")
        await self.until_rolled_out(what, namespace=namespace)

    async def until_ended(self, workers: Sequence[PodWorker]) -> None:
        """Wait until the processes of these pods have ended, and the pods are gone."""

        async def ended() -> bool:
            present = [worker for node in self.nodes.values() for worker in node.present]
            return not any(worker in present for worker in workers)

        await eventually(ended)

    async def endpoints(self) -> set[str]:
        """The addresses to which kube-proxy may lead new connections: ready ones of the slices."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{SERVER}/endpointslices"
        items: list[Any] = (await self.api.get(f"{path}?labelSelector=kubernetes.io/service-name={SERVER}"))["items"]
        endpoints = [endpoint for item in items for endpoint in item.get("endpoints") or ()]
        return {address for each in endpoints if each["conditions"]["ready"] for address in each["addresses"]}

    async def proxies_know(self, address: str) -> bool:
        """Whether the rules of any worker's kube-proxy still lead new connections to an address."""
        listings = [
            await node.host.command("nft", "list", "table", "ip", "kube-proxy")
            for name, node in self.nodes.items()
            if name in WORKERS
        ]
        # A Service's chain chooses among its endpoints' chains, which outlive that by a second.
        choices = [line for listing in listings for line in listing.splitlines() if "numgen" in line]
        return any(f"__{address}/" in choice for choice in choices)

    async def strangers(self) -> Counter[str]:
        """Packets that came as far as the real metadata service from anybody but servers, by source address.

        Servers get their own credentials there.
        """
        hosts = [worker.host for worker in self.all_pods(SERVER, "server")]
        servers = {str(address) for host in hosts if host is not None for address in host.host.addresses}
        arrivals = await self.lab.arrivals()
        return Counter({source: count for source, count in arrivals.items() if source not in servers})

    def _images(self) -> Images:
        return images()

    def _agent(self, around: Surroundings, name: str) -> NodeAgent:
        zone = {
            "topology.kubernetes.io/region": "eu-central-1",
            "topology.kubernetes.io/zone": f"eu-central-1{name[-1]}",
        }
        if name in WORKERS:
            return NodeAgent(around, name=name, labels={**zone, "role": "worker"})
        taint = {"key": SERVER_LABEL, "effect": "NoSchedule"}
        return NodeAgent(around, name=name, labels={**zone, SERVER_LABEL: ""}, taints=[taint])

    def _unready(self) -> str:
        """The ends of the logs of pods that are not ready, for whoever wants to know why."""
        workers = [worker for node in self.nodes.values() for worker in node.present]
        unready = [worker for worker in workers if not all(each.ready for each in worker.containers)]
        return "".join(f"\n{worker.namespace}/{worker.name}:\n{worker.log[-3000:]}" for worker in unready)


async def eventually(condition: Callable[[], Awaitable[object]], *, seconds: float = _SECONDS) -> float:
    """Wait until something is true; returns the monotonic time at which it was. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # other processes make it true
            await asyncio.sleep(_POLL)
    return time.monotonic()


def _named(target: Object) -> Object:
    return {"apiVersion": "apps/v1", "kind": target["kind"], "metadata": {"name": target["name"]}}


def _is_of(worker: PodWorker, namespace: str, component: str | None) -> bool:
    labels = worker.pod["metadata"]["labels"]
    return worker.namespace == namespace and component in (None, labels.get("app.kubernetes.io/component"))
