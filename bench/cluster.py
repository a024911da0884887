"""What a measurement does to a cluster: namespaces, accounts, nodes and pods, over the API like anybody else."""

from collections.abc import Sequence
from typing import Any

from iam4kube.kube.client import KubeClient
from iam4kube.sandbox.kubernetes import objects

NAMESPACE = "bench"
NODE = "bench-node"
_MERGE_PATCH = "application/merge-patch+json"
_CONFLICT = 409


class Cluster:
    """Writes to one API server. Each method returns once the API server has acknowledged the write."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def prepare(self) -> None:
        """A namespace and a node."""
        await self._create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        node = objects.node(NODE, addresses=["10.0.0.1"])
        await self._create("/api/v1/nodes", node)
        await self._patch(f"/api/v1/nodes/{NODE}/status", {"status": node["status"]})

    async def create_account(self, name: str, role_arn: str) -> None:
        """A ServiceAccount that names a role."""
        account = objects.service_account(name, namespace=NAMESPACE, role_arn=role_arn)
        await self._create(_path("serviceaccounts"), account)

    async def delete_account(self, name: str) -> None:
        """Delete a ServiceAccount."""
        (await self._client.request("DELETE", _path("serviceaccounts", name))).checked()

    async def create_pod(self, name: str, *, account: str) -> None:
        """A pod that is scheduled and has no address yet."""
        await self._create(_path("pods"), objects.pod(name, namespace=NAMESPACE, service_account=account, node=NODE))

    async def give_addresses(self, name: str, addresses: Sequence[str]) -> None:
        """Write a running pod's status, as its kubelet does."""
        status = objects.pod_status(image="registry.example/bench:1", addresses=addresses, phase="Running")
        await self._patch(_path("pods", name, "status"), {"status": status})

    async def _create(self, path: str, obj: dict[str, Any]) -> None:
        response = await self._client.request("POST", path, body=obj)
        if response.status != _CONFLICT:
            response.checked()

    async def _patch(self, path: str, patch: dict[str, Any]) -> None:
        (await self._client.request("PATCH", path, body=patch, content_type=_MERGE_PATCH)).checked()


def _path(plural: str, *names: str) -> str:
    return "/".join((f"/api/v1/namespaces/{NAMESPACE}/{plural}", *names))
