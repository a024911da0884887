"""Where scenes play: a cluster, an STS, one replica of the server, and the pods' processes."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from iam4kube.sandbox.demo.cast import TRUSTED, Workload
from iam4kube.sandbox.demo.expectations import Unexpected
from iam4kube.sandbox.demo.pods import Pod, run_pod
from iam4kube.sandbox.demo.replica import Replica
from iam4kube.sandbox.demo.screen import Screen
from iam4kube.sandbox.kubernetes import KubernetesApi, objects
from iam4kube.sandbox.sts import Sts

STS_SECONDS = 0.05
"""How long the emulated STS takes for an answer: as long as the real one from the same region."""

_EVENT_SECONDS = 5.0  # events are sent in the background, each within a few milliseconds on an idle machine
_EVENT_POLL_SECONDS = 0.02


class Stage:
    """What scenes may touch. `open_stage` makes one."""

    def __init__(self, *, screen: Screen, kubernetes: KubernetesApi, sts: Sts, folder: Path) -> None:
        self.screen = screen
        self.kubernetes = kubernetes
        self.sts = sts
        self._key_file = folder / "token-keys.json"
        self._kubeconfig = folder / "kubeconfig"
        self._pods: list[Pod] = []
        self._processes = AsyncExitStack()
        self._replica: Replica | None = None

    @property
    def replica(self) -> Replica:
        """The replica that pods ask now."""
        if self._replica is None:
            raise RuntimeError("no replica has been started")
        return self._replica

    def add_account(self, workload: Workload, *, annotated: bool = True) -> None:
        """Create a pod's ServiceAccount, with its annotations or without."""
        self.kubernetes.create(
            objects.service_account(
                workload.name,
                namespace=workload.namespace,
                role_arn=workload.role_arn if annotated else None,
                external_id=workload.external_id if annotated else None,
            )
        )

    def add_pod(self, workload: Workload, *, addressed: bool = True) -> None:
        """Create a pod's object, with its address or before its kubelet has written it."""
        self.kubernetes.create(
            objects.pod(
                workload.name,
                namespace=workload.namespace,
                service_account=workload.name,
                addresses=[workload.address] if addressed else [],
            )
        )

    async def run_pod(self, workload: Workload) -> Pod:
        """Start a pod's process; it lasts as long as the stage."""
        pod = run_pod(workload, server=self.replica.metadata, more=self._pod_environment())
        self._pods.append(await self._processes.enter_async_context(pod))
        return self._pods[-1]

    async def run_pods(self, *workloads: Workload) -> list[Pod]:
        """Start several pods' processes."""
        return [await self.run_pod(workload) for workload in workloads]

    async def event(self, workload: Workload, reason: str) -> str:
        """Wait for an event on a pod; returns its message. Raises `Unexpected` with the events that there are."""
        try:
            async with asyncio.timeout(_EVENT_SECONDS):
                while True:
                    told = self._events(workload)
                    if reason in told:
                        return told[reason]
                    await asyncio.sleep(_EVENT_POLL_SECONDS)
        except TimeoutError:
            seen = f"{told} after {_EVENT_SECONDS:.0f} s"
            raise Unexpected(expected=f"an event {reason} on {workload}", seen=seen) from None

    async def start_replica(self) -> None:
        """Start a replica, and let all pods ask it from now on. Raises `NotReady`."""
        flags = (
            f"--kubeconfig={self._kubeconfig}",
            f"--token-key-file={self._key_file}",
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
            "--debug-listen=127.0.0.1:0",
        )
        replica = await Replica.start(flags, environ=self._server_environment())
        self._processes.push_async_callback(replica.kill)
        self._replica = replica
        for pod in self._pods:
            pod.follow(replica.metadata)

    async def prepare(self) -> None:
        """Set up what an administrator does once: trust policies, a kubeconfig, a token key."""
        self.sts.faults.latency = STS_SECONDS
        for workload in TRUSTED:
            if workload.role_arn is not None:
                self.sts.trust.trust(
                    workload.role_arn, session_name=workload.session_name, external_id=workload.external_id
                )
        await asyncio.to_thread(self.kubernetes.kubeconfig, self._kubeconfig)
        self.kubernetes.create(objects.node("node-a"))
        command = (sys.executable, "-m", "iam4kube", "token-key", "new", str(self._key_file))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        await process.wait()

    async def close(self) -> None:
        """End all processes."""
        await self._processes.aclose()

    def _events(self, workload: Workload) -> dict[str, str]:
        return {
            event["reason"]: event["message"]
            for event in self.kubernetes.list("events", namespace=workload.namespace)
            if event["involvedObject"]["name"] == workload.name
        }

    def _server_environment(self) -> dict[str, str]:
        """How the server finds STS and its own credentials, and nothing of whoever runs the demo."""
        files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        return {**files, "AWS_EC2_METADATA_DISABLED": "true", **self.sts.environment()}

    def _pod_environment(self) -> dict[str, str]:
        """Where AWS is for a pod. Who the pod is, only the metadata service tells."""
        return {"AWS_ENDPOINT_URL_STS": self.sts.url, "AWS_DEFAULT_REGION": self.sts.region}


@asynccontextmanager
async def open_stage(screen: Screen) -> AsyncIterator[Stage]:
    """A stage with an empty cluster and no replica yet. All that it started ends with it."""
    with tempfile.TemporaryDirectory(prefix="iam4kube-demo-") as folder:
        async with KubernetesApi() as kubernetes, Sts(known_only=True) as sts:
            stage = Stage(screen=screen, kubernetes=kubernetes, sts=sts, folder=Path(folder))
            try:
                await stage.prepare()
                yield stage
            finally:
                await stage.close()
