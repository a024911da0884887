"""What every stage has: an emulated cluster and STS, set up as administrators do it once, and the pods' events."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from iam4kube.sandbox.demo.cast import TRUSTED, Workload
from iam4kube.sandbox.demo.expectations import Unexpected
from iam4kube.sandbox.demo.screen import Screen
from iam4kube.sandbox.kubernetes import KubernetesApi, objects
from iam4kube.sandbox.sts import Sts

STS_SECONDS = 0.05
"""How long the emulated STS takes for an answer: as long as the real one from the same region."""

_EVENT_SECONDS = 5.0  # events are sent in the background, each within a few milliseconds on an idle machine
_EVENT_POLL_SECONDS = 0.02


class BaseStage:
    """What scenes may touch, but for what runs. Closing it ends all that was entered into `_running`."""

    def __init__(self, *, screen: Screen, kubernetes: KubernetesApi, sts: Sts, folder: Path) -> None:
        self.screen = screen
        self.kubernetes = kubernetes
        self.sts = sts
        self._folder = folder
        self._key_file = folder / "token-keys.json"
        self._kubeconfig = folder / "kubeconfig"
        self._running = AsyncExitStack()

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

    async def prepare(self) -> None:
        """Set up what an administrator does once: trust policies, a kubeconfig, a token key."""
        self.sts.faults.latency = STS_SECONDS
        for workload in TRUSTED:
            if workload.role_arn is not None:
                self.sts.trust.trust(
                    workload.role_arn, session_name=workload.session_name, external_id=workload.external_id
                )
        await asyncio.to_thread(self.kubernetes.kubeconfig, self._kubeconfig)
        command = (sys.executable, "-m", "iam4kube", "token-key", "new", str(self._key_file))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        await process.wait()

    async def close(self) -> None:
        """End everything that runs."""
        await self._running.aclose()

    def _server_command(self, listen: str) -> tuple[str, ...]:
        """The command of a replica, with its ports for operators on loopback."""
        return (
            *(sys.executable, "-m", "iam4kube", "serve", "--log-format=json"),
            f"--kubeconfig={self._kubeconfig}",
            f"--token-key-file={self._key_file}",
            f"--listen={listen}",
            "--admin-listen=127.0.0.1:0",
            "--debug-listen=127.0.0.1:0",
        )

    def _server_environment(self) -> dict[str, str]:
        """How the server finds STS and its own credentials, and nothing of whoever runs the demo."""
        files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        return {**files, "AWS_EC2_METADATA_DISABLED": "true", **self.sts.environment()}

    def _events(self, workload: Workload) -> dict[str, str]:
        return {
            event["reason"]: event["message"]
            for event in self.kubernetes.list("events", namespace=workload.namespace)
            if event["involvedObject"]["name"] == workload.name
        }


AnyStage = TypeVar("AnyStage", bound=BaseStage)
AnyStage_co = TypeVar("AnyStage_co", bound=BaseStage, covariant=True)


class MakeStage(Protocol[AnyStage_co]):
    """A class of stages."""

    def __call__(self, *, screen: Screen, kubernetes: KubernetesApi, sts: Sts, folder: Path) -> AnyStage_co:
        """As `BaseStage`."""
        ...


@asynccontextmanager
async def open_stage(make: MakeStage[AnyStage], screen: Screen) -> AsyncIterator[AnyStage]:
    """A stage with an empty cluster, on which nothing runs yet. All that it started ends with it."""
    with tempfile.TemporaryDirectory(prefix="iam4kube-demo-") as folder:
        async with KubernetesApi() as kubernetes, Sts(known_only=True) as sts:
            stage = make(screen=screen, kubernetes=kubernetes, sts=sts, folder=Path(folder))
            try:
                await stage.prepare()
                yield stage
            finally:
                await stage.close()
