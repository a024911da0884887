"""A cluster of node agents: everything is real but kubelets, systemd and AWS, and nothing is installed yet."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from iam4kube.runtime.clock import utc_now
from iam4kube.sandbox.demo.instance_metadata import InstanceMetadata
from iam4kube.sandbox.network import Relay
from iam4kube.sandbox.sts.server import Sts
from tests.support.controlplane import ControlPlane
from tests.support.node_agent import NodeAgent
from tests.support.node_agent_api import Api
from tests.support.node_agent_images import Images
from tests.support.node_agent_pod import Surroundings
from tests.support.node_lab import LabHost, NodeLab
from tests.support.node_lab_cluster import LabCluster
from tests.support.real_proxy import ProxyMode, RealProxy

WORKERS = ("worker-1", "worker-2")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_INSTANCE_CREDENTIALS_LAST = timedelta(hours=6)  # as EC2's do


class AgentCluster(ABC):
    """Workers with kube-proxy, and nodes for servers. Whoever inherits says what images there are.

    Use it with `async with`, in the test itself: a node's failure ends the test.
    """

    def __init__(self, control_plane: ControlPlane, folder: Path, *, sts: Sts, server_nodes: Sequence[str]) -> None:
        self.control_plane = control_plane
        self.folder = folder
        """Below it, by the nodes' names, what pods write."""
        self.sts = sts
        self.lab = NodeLab(pods=(), servers=())
        self.api = Api(control_plane)
        self.nodes: dict[str, NodeAgent] = {}
        self._server_nodes = server_nodes
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._stack.enter_async_context(self.lab)
            await self._stack.enter_async_context(self.sts)
            await self._stack.enter_async_context(self.api)
            self.lab.stand_in.close()
            self.metadata = InstanceMetadata("iam4kube-server", _instance_credentials(self.sts))
            await self._stack.enter_async_context(self.metadata.run(self.lab.network.upstream))
            await self._start_nodes()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    @abstractmethod
    def _images(self) -> Images:
        """The images that nodes know. Asked for when STS runs."""

    def _agent(self, around: Surroundings, name: str) -> NodeAgent:
        """The agent of a node, which has no labels of its own here."""
        return NodeAgent(around, name=name)

    async def _start_nodes(self) -> None:
        first, *others = (*WORKERS, *self._server_nodes)
        hosts = {first: self.lab.node} | {name: self.lab.add_node(name) for name in others}
        ports = self.control_plane.port, self.sts.port
        tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        for name, host in hosts.items():
            for port in ports:
                await self._stack.enter_async_context(Relay(host.namespace, port=port))
            around = Surroundings(
                lab=self.lab, api=self.api, host=host, images=self._images(), ports=ports, folder=self.folder / name
            )
            self.nodes[name] = agent = self._agent(around, name)
            running = tasks.create_task(agent.run(), name=f"agent of {name}")
            self._stack.push_async_callback(_cancel, running)
        for name in WORKERS:
            await self._stack.enter_async_context(self._proxy(name, hosts[name]))

    def _proxy(self, name: str, host: LabHost) -> RealProxy:
        folder = self.folder / f"proxy-of-{name}"
        folder.mkdir(parents=True)
        cluster = LabCluster(self.control_plane)
        return RealProxy(self.lab, cluster, node=name, mode=ProxyMode.NFTABLES, folder=folder, host=host)


def _instance_credentials(sts: Sts) -> dict[str, str]:
    """What the real metadata service says on servers' nodes: credentials that STS knows as the server's."""
    credentials, now = sts.credentials(), utc_now()
    return {
        "Code": "Success",
        "LastUpdated": f"{now:{_TIME}}",
        "Type": "AWS-HMAC",
        "AccessKeyId": credentials["aws_access_key_id"],
        "SecretAccessKey": credentials["aws_secret_access_key"],
        "Token": credentials["aws_session_token"],
        "Expiration": f"{now + _INSTANCE_CREDENTIALS_LAST:{_TIME}}",
    }


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
