"""A small kubelet for a laboratory's node: pods that the scheduler puts there run as processes of this machine.

    agent = NodeAgent(Surroundings(...), name="worker-1", labels={...})
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(agent.run())
        ...
        running.cancel()

It registers the Node and keeps it Ready, gives pods an address in the laboratory (those in the host's network have
the node's), mounts their volumes, runs their containers with their probes, writes their status, and ends them as the
kubelet does: SIGTERM, the grace period, SIGKILL, then the object. What it does not know it refuses with an error that
fails the test: init containers, other kinds of volumes, probes and hooks.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tests.support.node_agent_api import Object
from tests.support.node_agent_pod import PodWorker, Surroundings
from tests.support.node_lab import LabHost

_LEASE_SECONDS = 10.0  # the kubelet renews after a quarter of the lease's 40 s
_RESOURCES = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110"}
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_FAULTS = ("MemoryPressure", "DiskPressure", "PIDPressure")


class NodeAgent:
    """One node. `run` it."""

    def __init__(
        self,
        around: Surroundings,
        *,
        name: str,
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.name = name
        self.workers: list[PodWorker] = []
        """All pods that have ever been here."""
        self._around = around
        self._labels = {"kubernetes.io/os": "linux", "kubernetes.io/hostname": name, **(labels or {})}
        self._taints = [dict(taint) for taint in taints]
        self._present: dict[str, PodWorker] = {}
        self._seen: set[str] = set()

    @property
    def host(self) -> LabHost:
        """The node's place in the network."""
        return self._around.host

    @property
    def present(self) -> list[PodWorker]:
        """The pods that are here now."""
        return list(self._present.values())

    def find(self, *, namespace: str, name: str) -> PodWorker:
        """A pod that is here. Raises `LookupError`."""
        for worker in self._present.values():
            if (worker.namespace, worker.name) == (namespace, name):
                return worker
        raise LookupError(f"{namespace}/{name} is not on {self.name}")

    async def run(self) -> None:
        """Register the node, and run its pods until this is cancelled; then their processes are killed."""
        await self._register()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew(), name=f"lease of {self.name}")
            watched = self._around.api.watch(f"/api/v1/pods?fieldSelector=spec.nodeName={self.name}")
            async for kind, pod in watched:
                self._take(kind, pod, tasks)

    def _take(self, kind: str, pod: Object, tasks: asyncio.TaskGroup) -> None:
        uid = pod["metadata"]["uid"]
        worker = self._present.get(uid)
        if kind == "DELETED":
            if worker is not None:
                worker.vanish()
        elif worker is not None:
            worker.update(pod)
        elif uid not in self._seen:  # else it has ended, and the watch comes after
            self._seen.add(uid)
            self._present[uid] = worker = PodWorker(pod, self._around)
            self.workers.append(worker)
            running = tasks.create_task(worker.run(), name=f"pod {worker.name}")
            running.add_done_callback(lambda _: self._present.pop(uid))

    async def _register(self) -> None:
        metadata = {"name": self.name, "labels": self._labels}
        api = self._around.api
        await api.ask("POST", "/api/v1/nodes", {"metadata": metadata, "spec": {"taints": self._taints}})
        addresses = [{"type": "InternalIP", "address": str(each)} for each in self._around.host.host.addresses]
        conditions = [("Ready", "True", "KubeletReady"), *((name, "False", "KubeletHasNone") for name in _FAULTS)]
        status = {
            "addresses": addresses,
            "capacity": _RESOURCES,
            "allocatable": _RESOURCES,
            "nodeInfo": {"bootID": f"boot-of-{self.name}"},
            "conditions": [
                {"type": name, "status": value, "reason": reason, "lastHeartbeatTime": _now()[:19] + "Z"}
                for name, value, reason in conditions
            ],
        }
        await api.patch(f"/api/v1/nodes/{self.name}/status", {"status": status})
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": _now()}
        await api.ask("POST", _LEASES, {"metadata": {"name": self.name}, "spec": spec})

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_LEASE_SECONDS)
            await self._around.api.patch(f"{_LEASES}/{self.name}", {"spec": {"renewTime": _now()}})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
