"""A laboratory's part of a real cluster: Nodes, Services and EndpointSlices. The test is every controller."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self

from tests.support.controlplane import ControlPlane
from tests.support.node_lab import SERVER_PORT, LabHost

_APPLY = "fieldManager=test&force=true"
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One address of a Service, and its conditions."""

    address: str
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zone: str | None = None
    node: str | None = None
    """The name of its Node."""
    pod: str | None = None
    """The name that its targetRef has. None for a server in its node's own network."""


class LabCluster:
    """A namespace and Nodes of one test. Use it with `async with`; its objects end with it."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane
        self.namespace = f"lab-{next(_numbers)}"
        self._nodes: list[str] = []
        self._services: list[str] = []

    async def __aenter__(self) -> Self:
        await self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for service in list(self._services):
            await self.delete_service(service)
        for node in self._nodes:
            await self.ask("DELETE", f"/api/v1/nodes/{node}")

    async def ask(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        """Ask the API server as the administrator. Raises `urllib.error.HTTPError`."""
        return await asyncio.to_thread(self.control_plane.request, method, path, body, content_type=content_type)

    async def add_node(self, host: LabHost, *, zone: str | None = None) -> str:
        """A Node object with a node's addresses; returns its name, which no other test has."""
        name = f"{host.host.name}.{self.namespace}"
        labels = {"topology.kubernetes.io/zone": zone} if zone else {}
        addresses = [{"type": "InternalIP", "address": str(address)} for address in host.host.addresses]
        await self.ask("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
        self._nodes.append(name)
        await self.ask(
            "PATCH",
            f"/api/v1/nodes/{name}/status",
            {"status": {"addresses": addresses}},
            content_type="application/merge-patch+json",
        )
        return name

    async def create_service(
        self,
        name: str,
        *,
        port: int,
        port_name: str = "router",
        addresses: Sequence[str] = (),
        external: Sequence[str] = (),
        headless: bool = False,
    ) -> list[str]:
        """A dual-stack Service with one port, with these cluster IPs or any; returns its cluster IPs, IPv4 first.

        `external` are its externalIPs.
        """
        spec: dict[str, Any] = {
            "ports": [{"name": port_name, "port": port, "targetPort": SERVER_PORT, "protocol": "TCP"}],
            "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": ["IPv4", "IPv6"],
            "externalIPs": list(external),
        }
        if headless:
            spec["clusterIP"] = "None"
        elif addresses:
            spec.update(clusterIP=addresses[0], clusterIPs=list(addresses))
        service = await self.ask("POST", self._services_path(), {"metadata": {"name": name}, "spec": spec})
        self._services.append(name)
        return list(service["spec"]["clusterIPs"])

    async def delete_service(self, name: str) -> None:
        """Delete a Service and its EndpointSlices."""
        self._services.remove(name)
        await self.ask("DELETE", f"{self._services_path()}/{name}")
        await self.ask("DELETE", f"{self._slices_path()}?labelSelector=kubernetes.io/service-name={name}")

    async def set_endpoints(self, name: str, endpoints: Sequence[Endpoint], *, port_name: str = "router") -> None:
        """Let these be all the endpoints of a Service: one EndpointSlice for each family."""
        for version in 4, 6:
            slice_name = f"{name}-ipv{version}"
            body = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": slice_name, "labels": {"kubernetes.io/service-name": name}},
                "addressType": f"IPv{version}",
                "ports": [{"name": port_name, "port": SERVER_PORT, "protocol": "TCP"}],
                "endpoints": [
                    self._endpoint(endpoint)
                    for endpoint in endpoints
                    if ip_address(endpoint.address).version == version
                ],
            }
            path = f"{self._slices_path()}/{slice_name}?{_APPLY}"
            await self.ask("PATCH", path, body, content_type="application/apply-patch+yaml")

    def _endpoint(self, endpoint: Endpoint) -> dict[str, Any]:
        conditions = {
            "ready": endpoint.ready,
            "serving": endpoint.serving,
            "terminating": endpoint.terminating,
        }
        document: dict[str, Any] = {"addresses": [endpoint.address], "conditions": conditions}
        if endpoint.zone:
            document["zone"] = endpoint.zone
        if endpoint.node:
            document["nodeName"] = endpoint.node
        if endpoint.pod:
            document["targetRef"] = {"kind": "Pod", "name": endpoint.pod, "namespace": self.namespace}
        return document

    def _services_path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/services"

    def _slices_path(self) -> str:
        return f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"
