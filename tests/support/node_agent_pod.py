"""One pod on a node: volumes, network and containers, its status, and its end."""

import asyncio
import itertools
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iam4kube.sandbox.network import Relay
from tests.support.node_agent_api import STRATEGIC_MERGE_PATCH, Api, NotFound, Object
from tests.support.node_agent_container import Container
from tests.support.node_agent_images import Images, command_line, confining, environment_of
from tests.support.node_agent_probes import Probe
from tests.support.node_agent_status import PodStatus
from tests.support.node_agent_volumes import NotThereYet, mounting, write_volumes
from tests.support.node_lab import LabHost, NodeLab

_VOLUME_SECONDS = 0.5  # between two looks at what is missing
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all pods of a node have in common."""

    lab: NodeLab
    api: Api
    host: LabHost
    """The node."""
    images: Images
    ports: tuple[int, ...]
    """Of this machine's loopback, that processes reach on their own; the first is the API server's."""
    folder: Path


class PodWorker:
    """`run` it; tell it with `update` and `vanish` what the API server says."""

    def __init__(self, pod: Object, around: Surroundings) -> None:
        self.pod = pod
        self.name = str(pod["metadata"]["name"])
        self.namespace = str(pod["metadata"]["namespace"])
        self.host: LabHost | None = None
        """Its place in the network, once it has one."""
        self.ended_after = 0.0
        """Seconds from its deletion to its containers' end."""
        self.folder = around.folder / f"{self.namespace}-{self.name}"
        self._around = around
        self._deletion = asyncio.Event()
        self._changed = asyncio.Event()
        self._gone = False
        self._folders: dict[str, Path] = {}
        self._written: Object = {}
        self._status_of = PodStatus()
        self.containers = [self._container(spec) for spec in pod["spec"]["containers"]]
        self.update(pod)

    @property
    def path(self) -> str:
        """Its own at the API server."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    @property
    def deleted(self) -> bool:
        """Whether it has been told to end."""
        return self._deletion.is_set()

    @property
    def log(self) -> str:
        """What its containers have written."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def update(self, pod: Object) -> None:
        """The API server has it so now."""
        self.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            self._deletion.set()

    def vanish(self) -> None:
        """The API server has it no more."""
        self._gone = True
        self._deletion.set()

    async def run(self) -> None:
        """From its arrival at the node until it is gone."""
        self.folder.mkdir(parents=True)
        reporting = asyncio.create_task(self._report(), name=f"status of {self.name}")
        try:
            await self._live()
        finally:
            reporting.cancel()
            await asyncio.wait([reporting])
        await self._write_status()
        await self._deletion.wait()
        await self._delete()

    async def _live(self) -> None:
        """From its volumes to its containers' end."""
        if not await self._mount():
            return
        async with AsyncExitStack() as stack:
            self.host = await self._join_network(stack)
            running = [asyncio.create_task(each.run(), name=each.name) for each in self.containers]
            deletion = asyncio.create_task(self._deletion.wait(), name=f"deletion of {self.name}")
            try:
                await _until_all_or(running, deletion)
                if self._deletion.is_set():
                    await self._stop()
                    await asyncio.wait(running)
            finally:
                await asyncio.gather(*(container.kill() for container in self.containers))
                await _cancel(*running, deletion)

    async def _stop(self) -> None:
        began = time.monotonic()
        grace = 0.0 if self._gone else float(self.pod["metadata"]["deletionGracePeriodSeconds"])
        await asyncio.gather(*(self._stop_container(container, grace) for container in self.containers))
        self.ended_after = time.monotonic() - began

    async def _stop_container(self, container: Container, grace: float) -> None:
        """The preStop hook's time is part of the grace period."""
        spec = next(spec for spec in self.pod["spec"]["containers"] if spec["name"] == container.name)
        match spec.get("lifecycle", {}).get("preStop"):
            case None:
                pass
            case {"sleep": {"seconds": seconds}}:
                await asyncio.sleep(min(seconds, grace))
                grace -= seconds
            case hook:
                raise NotImplementedError(f"preStop {hook}")
        await container.stop(max(grace, 0.0))

    async def _mount(self) -> bool:
        """Make the volumes; false if the pod is deleted before what they are of is there."""
        while not self._deletion.is_set():
            try:
                self._folders = await write_volumes(self._around.api, self.pod, self.folder / "volumes")
            except NotThereYet:
                await asyncio.sleep(_VOLUME_SECONDS)
            else:
                return True
        return False

    async def _join_network(self, stack: AsyncExitStack) -> LabHost:
        around = self._around
        if self.pod["spec"].get("hostNetwork"):
            return around.host
        host = around.lab.add_pod(f"pod-{next(_numbers)}", node=around.host)
        stack.callback(around.lab.remove, host)
        for port in around.ports:
            await stack.enter_async_context(Relay(host.namespace, port=port))
        return host

    def _container(self, spec: Object) -> Container:
        return Container(
            spec,
            restart_policy=self.pod["spec"]["restartPolicy"],
            grace=float(self.pod["spec"]["terminationGracePeriodSeconds"]),
            start=lambda: self._start(spec),
            ask=self._ask,
            changed=self._changed.set,
        )

    async def _start(self, spec: Object) -> asyncio.subprocess.Process:
        assert self.host is not None
        image = self._around.images[spec["image"]]
        pod = self.pod | {"status": self._status()}  # a container's environment may name the pod's address
        environment = environment_of(image, spec, pod, api_server=("127.0.0.1", self._around.ports[0]))
        scratch = self.folder / f"scratch-{spec['name']}"
        scratch.mkdir(exist_ok=True)
        wrapper = (*mounting(spec, self._folders, scratch), *confining(spec))
        with (self.folder / "log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self.host.namespace.command(*wrapper, *command_line(image, spec, environment)),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _ask(self, probe: Probe) -> bool:
        assert self.host is not None
        return await probe.ask(self._around.host.namespace, self.host.ipv4)

    async def _report(self) -> None:
        """Write the status whenever it is another."""
        while True:
            self._changed.clear()
            await self._write_status()
            await self._changed.wait()

    async def _write_status(self) -> None:
        status = self._status()
        if status == self._written or self._gone:
            return
        self._written = status
        changes = {"metadata": {"uid": self.pod["metadata"]["uid"]}, "status": status}
        try:
            await self._around.api.patch(f"{self.path}/status", changes, content_type=STRATEGIC_MERGE_PATCH)
        except NotFound:
            self.vanish()

    def _status(self) -> Object:
        return self._status_of.document(
            self.containers,
            ends=self._deletion.is_set() or self.pod["spec"]["restartPolicy"] != "Always",
            node=self._around.host,
            host=self.host,
        )

    async def _delete(self) -> None:
        if not self._gone:
            body: dict[str, Any] = {
                "gracePeriodSeconds": 0,
                "preconditions": {"uid": self.pod["metadata"]["uid"]},
            }
            try:
                await self._around.api.ask("DELETE", self.path, body)
            except NotFound:
                return


async def _until_all_or(running: list[asyncio.Task[None]], deletion: asyncio.Task[Any]) -> None:
    """Wait until all have ended, or for the deletion. Raises what one of them has raised."""
    while not deletion.done() and not all(task.done() for task in running):
        done, _ = await asyncio.wait(
            [deletion, *(task for task in running if not task.done())], return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
