"""A cluster in memory with what a router watches, written as `LabCluster` writes it to a real API server.

    async with EmulatedCluster() as cluster, cluster.reachable_from(lab):
        node = await cluster.add_node(lab.node)
        await cluster.create_service(SERVICE, port=ROUTER_PORT)
        await cluster.set_endpoints(SERVICE, [Endpoint(address=lab.server("one").ipv4)])

`stop` and `start` are an API server's outage: what it stores outlives it.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from iam4kube.sandbox.kubernetes import KubernetesApi, networking, objects
from iam4kube.sandbox.kubernetes.errors import ApiError
from iam4kube.sandbox.network import Relay
from tests.support.node_lab import SERVER_PORT, LabHost, NodeLab
from tests.support.node_lab_cluster import Endpoint

CLUSTER_IPS = ("10.96.0.50", "fd00:10:96::50")


class EmulatedCluster:
    """Nodes, Services and EndpointSlices of one namespace. Use it with `async with`."""

    def __init__(self, *, namespace: str = "iam4kube") -> None:
        self.api = KubernetesApi()
        self.namespace = namespace

    async def __aenter__(self) -> Self:
        await self.api.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.api.stop()

    def reachable_from(self, lab: NodeLab) -> Relay:
        """Lets programs in the lab's node reach the API server."""
        return lab.relay(self.api.port)

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for programs in the node."""
        return self.api.kubeconfig(path)

    async def add_node(
        self, host: LabHost, *, zone: str | None = None, taints: Sequence[Mapping[str, str]] = ()
    ) -> str:
        """A Node object with a node's addresses; returns its name."""
        addresses = [str(address) for address in host.host.addresses]
        self.api.create(objects.node(host.host.name, addresses=addresses, zone=zone, taints=taints))
        return host.host.name

    async def create_service(
        self,
        name: str,
        *,
        port: int,
        port_name: str = "router",
        addresses: Sequence[str] = CLUSTER_IPS,
        headless: bool = False,
    ) -> list[str]:
        """A Service with one port and these cluster IPs, which are returned."""
        cluster_ips = ["None"] if headless else list(addresses)
        ports = {port_name: port}
        self.api.create(networking.service(name, namespace=self.namespace, cluster_ips=cluster_ips, ports=ports))
        return cluster_ips

    async def delete_service(self, name: str, *, with_endpoints: bool = True) -> None:
        """Delete a Service and its EndpointSlices, which a real cluster's garbage collector deletes a little later."""
        self.api.delete("services", name, namespace=self.namespace)
        if with_endpoints:
            for version in 4, 6:
                self.delete_slice(name, version)

    def delete_slice(self, name: str, version: int) -> None:
        """Delete the EndpointSlice of one family, if there is one."""
        try:
            self.api.delete("endpointslices", _slice_name(name, version), namespace=self.namespace)
        except ApiError as error:
            if error.code != 404:
                raise

    async def set_endpoints(self, name: str, endpoints: Sequence[Endpoint], *, port_name: str = "router") -> None:
        """Let these be all the endpoints of a Service: one EndpointSlice for each family."""
        for version in 4, 6:
            obj = networking.endpoint_slice(
                _slice_name(name, version),
                service=name,
                namespace=self.namespace,
                address_type=f"IPv{version}",
                ports={port_name: SERVER_PORT},
                endpoints=[
                    self._endpoint(endpoint)
                    for endpoint in endpoints
                    if ip_address(endpoint.address).version == version
                ],
            )
            try:
                self.api.patch("endpointslices", _slice_name(name, version), obj, namespace=self.namespace)
            except ApiError as error:
                if error.code != 404:
                    raise
                self.api.create(obj)

    def _endpoint(self, endpoint: Endpoint) -> dict[str, Any]:
        document = networking.endpoint(
            endpoint.address,
            namespace=self.namespace,
            pod=endpoint.pod or "",
            node=endpoint.node or "",
            zone=endpoint.zone or "",
            ready=endpoint.ready,
            serving=endpoint.serving,
            terminating=endpoint.terminating,
        )
        absent = {"targetRef": endpoint.pod, "nodeName": endpoint.node, "zone": endpoint.zone}
        return {key: value for key, value in document.items() if absent.get(key, True)}


def _slice_name(service: str, version: int) -> str:
    return f"{service}-ipv{version}"
