"""Where scenes with the router play: a node and its pods in network namespaces, each program where it belongs.

    pods, one namespace each             boto3, without a word about where anything is
    the node                             ip2service run, --mode=endpoints (there is no kube-proxy)
    upstream                             the stand-in for the real metadata service
    a server pod beyond the node         iam4kube serve

The Kubernetes API and STS are outside of all that, on loopback; relays lead to them from where they are needed.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from iam4kube.runtime.clock import utc_now
from iam4kube.sandbox.demo.base_stage import BaseStage
from iam4kube.sandbox.demo.cast import NODE_AGENT, NODE_INSTANCE, NODE_ROLE, NODE_ROLE_ARN, Workload
from iam4kube.sandbox.demo.expectations import Unexpected
from iam4kube.sandbox.demo.instance_metadata import InstanceMetadata
from iam4kube.sandbox.demo.pods import POD_COMMAND, Pod, run_pod
from iam4kube.sandbox.demo.processes import end, kept_environment, piped
from iam4kube.sandbox.demo.programs import Program
from iam4kube.sandbox.demo.screen import Screen
from iam4kube.sandbox.kubernetes import KubernetesApi, networking, objects
from iam4kube.sandbox.network import Host, Namespace, NodeNetwork, Relay
from iam4kube.sandbox.sts import Sts

_NODE_NAME = "node-a"
_SERVICE = "iam4kube"
_SLICE = f"{_SERVICE}-1"
_SERVER_PORT = 8080
_MODE = "--mode=endpoints"
_ROUTER = (sys.executable, "-m", "ip2service")
CHECK = (*_ROUTER, "check", _MODE)
"""What the node does with metadata traffic: to be run on the node."""

_ROUTED_SECONDS = 10.0  # rules follow an endpoint's change within milliseconds; each look at them takes 0.3 s
_NODE_CREDENTIALS_LAST = timedelta(hours=6)  # as EC2's do
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_ROUTED, _SOMETHING_MISSING = 0, 1  # exit codes of `ip2service check`


class RoutedStage(BaseStage):
    """What scenes may touch. `open_stage` makes one; it needs a network that is isolated."""

    def __init__(self, *, screen: Screen, kubernetes: KubernetesApi, sts: Sts, folder: Path) -> None:
        super().__init__(screen=screen, kubernetes=kubernetes, sts=sts, folder=folder)
        self.pods: list[Pod] = []
        self._home = folder / "home"
        self._server: AsyncExitStack | None = None
        self._servers = 0
        self._router: Program | None = None

    async def prepare(self) -> None:
        """Build the node's network, and what is there before anything of this project is."""
        await super().prepare()
        self._home.mkdir()
        self.network = self._running.enter_context(NodeNetwork())
        self.metadata = InstanceMetadata(NODE_ROLE, self._node_credentials())
        await self._running.enter_async_context(self.metadata.run(self.network.upstream))
        await self._relay(self._running, self.node.namespace, self.kubernetes.port, self.sts.port)
        self.kubernetes.create(objects.node(_NODE_NAME, addresses=[self.node.ipv4]))
        self.kubernetes.create(networking.service(_SERVICE, namespace=_SERVICE))
        ports = {"http": _SERVER_PORT, "router": _SERVER_PORT}
        self.kubernetes.create(
            networking.endpoint_slice(_SLICE, service=_SERVICE, endpoints=[], namespace=_SERVICE, ports=ports)
        )

    @property
    def node(self) -> Host:
        """The worker node."""
        return self.network.node

    @property
    def router(self) -> Program:
        """The router that was started last."""
        if self._router is None:
            raise RuntimeError("no router has been started")
        return self._router

    async def run_pod(self, workload: Workload) -> None:
        """A pod with an address of its own, its ServiceAccount, and its process, which lasts as long as the stage."""
        host = self.network.add_pod(f"pod{len(self.pods) + 1}")
        workload = replace(workload, address=host.ipv4)
        self.add_account(workload)
        self.add_pod(workload)
        await self._relay(self._running, host.namespace, self.sts.port)
        self.pods.append(await self._run_pod_process(workload, host.namespace))

    async def run_on_node(self) -> Pod:
        """A process on the node itself."""
        return await self._run_pod_process(replace(NODE_AGENT, address=self.node.ipv4), self.node.namespace)

    async def start_replica(self) -> str:
        """Start a replica as a server pod of another node; returns its address. Raises `NotReady`."""
        self._servers += 1
        server = self._server = await self._running.enter_async_context(AsyncExitStack())
        host = self.network.add_server(f"server{self._servers}")
        server.callback(self.network.remove, host)
        await self._relay(server, host.namespace, self.kubernetes.port, self.sts.port)
        command = host.namespace.command(*self._server_command(f":{_SERVER_PORT}"))
        replica = await Program.start("iam4kube serve", command, environ=self._server_environment())
        server.push_async_callback(replica.kill)
        self._set_endpoints(host.ipv4)
        return host.ipv4

    async def lose_replica(self) -> None:
        """The replica and its network are gone at once, and the Service has no endpoint."""
        if self._server is None:
            raise RuntimeError("no replica has been started")
        await self._server.aclose()
        self._set_endpoints()

    async def start_router(self) -> None:
        """Start the router on the node; return when it routes. Raises `NotReady` and `Unexpected`."""
        flags = (_MODE, f"--node-name={_NODE_NAME}", f"--kubeconfig={self._kubeconfig}", "--admin-listen=127.0.0.1:0")
        command = self.node.namespace.command(*_ROUTER, "run", "--log-format=json", *flags)
        self._router = await Program.start("ip2service run", command, environ={})
        self._running.push_async_callback(self._router.kill)
        await self.until_routed()

    async def until_routed(self, routed: bool = True) -> None:
        """Wait until `ip2service check` finds everything in place, or finds it not. Raises `Unexpected`."""
        wanted, code, text = _ROUTED if routed else _SOMETHING_MISSING, None, "no answer"
        try:
            async with asyncio.timeout(_ROUTED_SECONDS):
                while code != wanted:
                    code, text = await self._check()
        except TimeoutError:
            raise Unexpected(expected=f"`ip2service check` to exit with {wanted}", seen=text) from None

    async def _check(self) -> tuple[int, str]:
        """What the router finds on the node: exit code and text."""
        command = self.node.namespace.command(*CHECK)
        process = await asyncio.create_subprocess_exec(
            *command, env=kept_environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            text = await piped(process.stdout).read()
            return await process.wait(), text.decode()
        finally:
            await end(process)

    async def _run_pod_process(self, workload: Workload, namespace: Namespace) -> Pod:
        command = namespace.command(*POD_COMMAND, self.sts.url)
        # A home of their own: files of whoever runs this must not come before the metadata service in the SDK's chain.
        environ = kept_environment() | {"HOME": str(self._home)}
        return await self._running.enter_async_context(run_pod(workload, command, environ=environ))

    async def _relay(self, stack: AsyncExitStack, namespace: Namespace, *ports: int) -> None:
        for port in ports:
            await stack.enter_async_context(Relay(namespace, port=port))

    def _set_endpoints(self, *addresses: str) -> None:
        """Let these be the Service's ready servers: here, the demo is the controller."""
        endpoints = [
            networking.endpoint(address, pod=f"{_SERVICE}-{address}", namespace=_SERVICE, node="node-b")
            for address in addresses
        ]
        self.kubernetes.patch("endpointslices", _SLICE, {"endpoints": endpoints}, namespace=_SERVICE)

    def _node_credentials(self) -> dict[str, str]:
        """What the real metadata service tells: credentials that STS knows as the node's."""
        credentials = self.sts.add_instance(NODE_ROLE_ARN, session_name=NODE_INSTANCE)
        now = utc_now()
        return {
            "Code": "Success",
            "LastUpdated": f"{now:{_TIME}}",
            "Type": "AWS-HMAC",
            "AccessKeyId": credentials["aws_access_key_id"],
            "SecretAccessKey": credentials["aws_secret_access_key"],
            "Token": credentials["aws_session_token"],
            "Expiration": f"{now + _NODE_CREDENTIALS_LAST:{_TIME}}",
        }
