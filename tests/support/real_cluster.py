"""A real API server as one test sees it: two namespaces, a node, and the server's ServiceAccount with its rules.

The test is scheduler, kubelet and controller manager: it binds pods to nodes, writes their status, and makes their
ServiceAccounts. What it made is gone afterwards, because the next test's replicas would watch it too.
"""

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from iam4kube.kube.permissions import SERVER_PERMISSIONS
from iam4kube.metadata.keyfile import create_key_file
from iam4kube.metadata.keyring import new_keyring
from iam4kube.runtime.clock import utc_now
from iam4kube.sandbox.kubernetes import objects
from iam4kube.sandbox.sts.server import Sts
from tests.support.controlplane import ADMIN_TOKEN, ControlPlane
from tests.support.metadata import ROLES
from tests.support.waiting import eventually
from tests.support.world import ReplicaProcess, replica_environment, replica_flags, role_arn, running_replica

SERVER = "iam4kube"
_REQUESTS_AT_ONCE = 16
_numbers = itertools.count(1)


def rules(*, without: tuple[str, str] = ("", "")) -> list[dict[str, list[str]]]:
    """The server's permissions as rules of a ClusterRole; `without` is a verb and a resource to leave out."""
    return [
        {
            "apiGroups": [permission.group],
            "resources": [permission.resource],
            "verbs": [verb for verb in permission.verbs if (verb, permission.resource) != without],
        }
        for permission in SERVER_PERMISSIONS
    ]


@dataclass(frozen=True)
class Event:
    """An event on a pod."""

    type: str
    reason: str
    message: str
    times: int


async def until_listed(replica: ReplicaProcess, address: str, role: str, *, seconds: float = 20.0) -> None:
    """Wait until a pod gets this role, or none for an empty one. Raises `TimeoutError`."""

    async def is_listed() -> bool:
        return (await replica.ask("GET", ROLES, address)).text == role

    await eventually(is_listed, seconds=seconds)


class RealCluster:
    """One test's part of a cluster, and an STS. Use it with `async with`."""

    def __init__(self, control_plane: ControlPlane, folder: Path) -> None:
        self._number = next(_numbers)
        self.control_plane = control_plane
        self.sts = Sts()
        self.shop, self.finance = f"shop-{self._number}", f"finance-{self._number}"
        self.home = f"iam4kube-{self._number}"
        """The namespace of the server's ServiceAccount."""
        self.node = f"node-{self._number}"
        self.node_address = self.address(0xFF01)
        self.kubeconfig = folder / "kubeconfig"
        self._key_file = folder / "token-keys.json"
        self._stack = AsyncExitStack()
        self.port = control_plane.port
        """Where the next kubeconfig says that the API server is."""
        self._token, self._expiry = "", 0.0
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.sts)
        self._session = await self._stack.enter_async_context(_admin_session(self.control_plane))
        create_key_file(self._key_file, new_keyring(now=utc_now()))
        for namespace in (self.shop, self.finance, self.home):
            await self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        await self.add_account(SERVER, namespace=self.home)
        await self.ask("POST", "/api/v1/nodes", objects.node(self.node, addresses=[self.node_address]))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        async with self._stack:
            for namespace in (self.shop, self.finance):
                await self.ask("DELETE", f"/api/v1/namespaces/{namespace}/pods?gracePeriodSeconds=0")
                await self.ask("DELETE", f"/api/v1/namespaces/{namespace}/serviceaccounts")
            await self.ask("DELETE", f"/api/v1/nodes/{self.node}")

    def address(self, index: int) -> str:
        """A loopback address of this test's own; `index` is under 65,280 for pods."""
        return f"127.{self._number}.{index >> 8}.{index & 255}"

    def arn(self, name: str, *, namespace: str = "") -> str:
        """What STS calls a pod whose ServiceAccount has this name, and whose role has it too."""
        role = role_arn(name).replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")
        return f"{role}/{namespace or self.shop}@{name}"

    async def ask(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """Ask the API server as the administrator. Fails for any status but a success."""
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, path, data=data, headers={"Content-Type": content_type}) as response:
            content = await response.read()
            assert response.ok, content
            answer: dict[str, Any] = json.loads(content)
            return answer

    async def patch(self, path: str, changes: Any) -> None:
        """Change parts of an object."""
        await self.ask("PATCH", path, changes, content_type="application/merge-patch+json")

    async def add_account(self, name: str, *, arn: str | None = None, namespace: str = "") -> None:
        """A ServiceAccount that names this role, or none. An empty `namespace` is the shop, here as below."""
        namespace = namespace or self.shop
        account = objects.service_account(name, namespace=namespace, role_arn=arn)
        await self.ask("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)

    async def annotate(self, name: str, *, arn: str | None) -> None:
        """Let a ServiceAccount of the shop name another role, or none."""
        path = f"/api/v1/namespaces/{self.shop}/serviceaccounts/{name}"
        await self.patch(path, {"metadata": {"annotations": {objects.ROLE_ARN: arn}}})

    async def run_pod(self, name: str, *, address: str, namespace: str = "", account: str = "") -> None:
        """A pod of a ServiceAccount, of the same name unless it is given; then its status, as the kubelet writes it."""
        namespace = namespace or self.shop
        pod = objects.pod(
            name, namespace=namespace, service_account=account or name, addresses=[address], node=self.node
        )
        await self.ask("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
        await self.patch(f"/api/v1/namespaces/{namespace}/pods/{name}/status", {"status": pod["status"]})

    async def add_pod(self, name: str, *, address: str, namespace: str = "") -> None:
        """A ServiceAccount whose role has its name, and a running pod of it."""
        await self.add_account(name, arn=role_arn(name), namespace=namespace)
        await self.run_pod(name, address=address, namespace=namespace)

    async def restart_containers(self, name: str, *, address: str) -> None:
        """The kubelet writes a pod's status anew, with other containers in it."""
        image = f"registry.example/{name}:1.4.2"
        status = objects.pod_status(image=image, addresses=[address], phase="Running", restarts=1)
        await self.patch(f"/api/v1/namespaces/{self.shop}/pods/{name}/status", {"status": status})

    async def reboot_node(self) -> None:
        """The kubelet comes back and writes the node's status first, with a new boot ID."""
        await self.patch(f"/api/v1/nodes/{self.node}/status", {"status": {"nodeInfo": {"bootID": "the-second"}}})

    async def delete_pod(self, name: str, *, grace: int = 0) -> None:
        """Delete a pod of the shop; without `grace` (in seconds) it is gone at once, as when its kubelet agrees."""
        await self.ask("DELETE", f"/api/v1/namespaces/{self.shop}/pods/{name}?gracePeriodSeconds={grace}")

    async def events(self, pod: str, *, namespace: str = "") -> list[Event]:
        """What `kubectl describe` shows of a pod."""
        path = f"/api/v1/namespaces/{namespace or self.shop}/events?fieldSelector=involvedObject.name={pod}"
        items = (await self.ask("GET", path))["items"]
        return [Event(item["type"], item["reason"], item["message"], item["count"]) for item in items]

    async def count(self, plural: str) -> int:
        """How many objects of a kind there are in the whole cluster."""
        return len((await self.ask("GET", f"/api/v1/{plural}"))["items"])

    async def grant(self, *, without: tuple[str, str] = ("", "")) -> None:
        """Give the server its permissions, all or all but one: a verb and a resource."""
        granted = rules(without=without)
        await asyncio.to_thread(self.control_plane.grant, granted, namespace=self.home, account=SERVER)

    async def grant_all(self) -> None:
        """Change the server's role, granted before, to all permissions."""
        path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{self.home}-{SERVER}"
        await self.patch(path, {"rules": rules()})

    async def write_kubeconfig(self, *, lifetime: float = 3600.0) -> None:
        """A kubeconfig with a new token of the server's ServiceAccount, valid for so many seconds."""
        self._expiry = asyncio.get_running_loop().time() + lifetime
        self._token = await asyncio.to_thread(self.control_plane.token, self.home, SERVER, lifetime=lifetime)
        self.control_plane.kubeconfig(self.kubeconfig, token=self._token, port=self.port)

    async def token_is_refused(self) -> bool:
        """Whether the API server does not know the kubeconfig's token any more."""
        if asyncio.get_running_loop().time() < self._expiry:
            return False  # to ask would only remind it that the token is good
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self._session.get("/api/v1/pods?limit=1", headers=headers) as response:
            return response.status == 401

    @asynccontextmanager
    async def replica(self, *flags: str, ready: bool = True) -> AsyncIterator[ReplicaProcess]:
        """A replica in a process of its own, by the kubeconfig as it stands; ready unless `ready` is false."""
        fixed = replica_flags(*flags, kubeconfig=self.kubeconfig, key_file=self._key_file)
        async with running_replica(*fixed, environment=replica_environment(self.sts), ready=ready) as replica:
            yield replica

    @asynccontextmanager
    async def without_api_server(self) -> AsyncIterator[None]:
        """SIGKILL it; afterwards it is started again, on the same port and with the same objects."""
        await asyncio.to_thread(self.control_plane.kill_api_server)
        try:
            yield
        finally:
            await asyncio.to_thread(self.control_plane.start_api_server)


def _admin_session(control_plane: ControlPlane) -> aiohttp.ClientSession:
    tls = ssl.create_default_context(cafile=str(control_plane.ca_file))
    return aiohttp.ClientSession(
        control_plane.url,
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        connector=aiohttp.TCPConnector(ssl=tls, limit=_REQUESTS_AT_ONCE),
    )
