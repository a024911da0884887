"""Where scenes play: a cluster, an STS, one replica of the server, and the pods' processes, all on loopback."""

from pathlib import Path

from iam4kube.sandbox.demo.base_stage import BaseStage
from iam4kube.sandbox.demo.cast import Workload
from iam4kube.sandbox.demo.pods import POD_COMMAND, Pod, run_pod
from iam4kube.sandbox.demo.programs import Program
from iam4kube.sandbox.demo.screen import Screen
from iam4kube.sandbox.kubernetes import KubernetesApi, objects
from iam4kube.sandbox.pods import LoopbackPod
from iam4kube.sandbox.sts import Sts


class Stage(BaseStage):
    """What scenes may touch. `open_stage` makes one."""

    def __init__(self, *, screen: Screen, kubernetes: KubernetesApi, sts: Sts, folder: Path) -> None:
        super().__init__(screen=screen, kubernetes=kubernetes, sts=sts, folder=folder)
        self._ways: list[LoopbackPod] = []
        self._replica: Program | None = None

    @property
    def replica(self) -> Program:
        """The replica that pods ask now."""
        if self._replica is None:
            raise RuntimeError("no replica has been started")
        return self._replica

    async def run_pod(self, workload: Workload) -> Pod:
        """Start a pod's process; it lasts as long as the stage."""
        way = await self._running.enter_async_context(LoopbackPod(workload.address, server=self._metadata))
        self._ways.append(way)
        pod = run_pod(workload, (*POD_COMMAND, self.sts.url), environ=way.environment())
        return await self._running.enter_async_context(pod)

    async def run_pods(self, *workloads: Workload) -> list[Pod]:
        """Start several pods' processes."""
        return [await self.run_pod(workload) for workload in workloads]

    async def start_replica(self) -> None:
        """Start a replica, and let all pods ask it from now on, as a Service does. Raises `NotReady`."""
        command = self._server_command("127.0.0.1:0")
        replica = await Program.start("iam4kube serve", command, environ=self._server_environment())
        self._running.push_async_callback(replica.kill)
        self._replica = replica
        for way in self._ways:
            way.server = self._metadata

    async def prepare(self) -> None:
        """Set up what an administrator does once, and a node."""
        await super().prepare()
        self.kubernetes.create(objects.node("node-a"))

    @property
    def _metadata(self) -> tuple[str, int]:
        return "127.0.0.1", self.replica.port("metadata")
