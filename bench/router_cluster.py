"""What a router's measurement writes to an API server: a Node, the Service, and ever new states of its EndpointSlice.

Every state has a number, in an annotation. A second watch beside the router's says when the API server has told of it.
"""

import itertools
import re
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from bench.cluster import NAMESPACE
from bench.router_notices import address_of
from iam4kube.kube.client import MERGE_PATCH, KubeClient
from iam4kube.sandbox.kubernetes import networking, objects
from tests.support.emulated_cluster import CLUSTER_IPS
from tests.support.node_lab import SERVER_PORT, LabHost
from tests.support.router_process import ROUTER_PORT, SERVICE

NODE = "bench-router"
_PORTS = {"router": SERVER_PORT}
_SLICE = f"{SERVICE}-ipv4"
_SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
_NUMBER = re.compile(rb'"bench/number":"(\d+)"')
_LEAVING = 40
"""Endpoints that have been replaced stay this long, in changes, as those that still serve: pods end in peace. At 83
changes a second, half a second."""
_CONFLICT = 409
_IDLE_SECONDS = 600.0


class RoutedCluster:
    """Writes to one API server. Each change returns once the API server has acknowledged it."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._numbers = itertools.count(1)
        self._stable: tuple[str, ...] = ()
        self._leaving: deque[int] = deque(maxlen=_LEAVING)
        self._present: int | None = None
        self._service_made = False
        self.left: dict[int, float] = {}
        """When a state left the API server (`perf_counter`): its acknowledgement, or the second watch's event."""

    async def prepare(self, node: LabHost, *, servers: Sequence[str], unused: str) -> None:
        """The Node, and the Service with the endpoints that stay: `servers` of IPv4, and an `unused` one of IPv6."""
        await self._create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        own = objects.node(NODE, addresses=[str(address) for address in node.host.addresses])
        await self._create("/api/v1/nodes", own)
        await self._patch(f"/api/v1/nodes/{NODE}/status", {"status": own["status"]})
        if not self._service_made:
            self._service_made = True
            await self._make_service(unused)
        self._stable, self._present = tuple(servers), None
        self._leaving.clear()
        await self.open_gate(self.new_number(), is_open=True)

    async def _make_service(self, unused: str) -> None:
        ports = {"router": ROUTER_PORT}
        service = networking.service(SERVICE, namespace=NAMESPACE, cluster_ips=CLUSTER_IPS, ports=ports)
        await self._create(f"/api/v1/namespaces/{NAMESPACE}/services", service)
        await self._create(_SLICES, _slice(f"{SERVICE}-ipv6", [_endpoint(unused)], number=0))
        await self._create(_SLICES, _slice(_SLICE, [], number=0))

    def new_number(self) -> int:
        """The next state's."""
        return next(self._numbers)

    async def open_gate(self, number: int, *, is_open: bool) -> None:
        """All endpoints that stay are ready, or none is."""
        await self._put(number, [_endpoint(server, ready=is_open) for server in self._stable])

    async def replace(self, number: int) -> None:
        """The endpoint of this number takes the place of the last one, which begins to terminate."""
        if self._present is not None:
            self._leaving.append(self._present)
        self._present = number
        endpoints = [_endpoint(server) for server in self._stable]
        endpoints += [_endpoint(address_of(gone), terminating=True) for gone in self._leaving]
        await self._put(number, [*endpoints, _endpoint(address_of(number))])

    async def listen(self) -> None:
        """Hear of each state as the router does. Returns when the API server ends the watch."""
        query = {"watch": "1", "labelSelector": f"kubernetes.io/service-name={SERVICE}"}
        async with self._client.stream(_SLICES, query, idle_timeout=_IDLE_SECONDS) as pieces:
            line = b""
            async for piece in pieces:
                *lines, line = (line + piece).split(b"\n")
                for each in lines:
                    if found := _NUMBER.search(each):
                        self.left.setdefault(int(found[1]), perf_counter())

    async def _put(self, number: int, endpoints: Sequence[dict[str, Any]]) -> None:
        body = _slice(_SLICE, endpoints, number=number)
        (await self._client.request("PUT", f"{_SLICES}/{_SLICE}", body=body)).checked()
        self.left.setdefault(number, perf_counter())

    async def _create(self, path: str, obj: dict[str, Any]) -> None:
        response = await self._client.request("POST", path, body=obj)
        if response.status != _CONFLICT:
            response.checked()

    async def _patch(self, path: str, patch: dict[str, Any]) -> None:
        (await self._client.request("PATCH", path, body=patch, content_type=MERGE_PATCH)).checked()


def _slice(name: str, endpoints: Sequence[dict[str, Any]], *, number: int) -> dict[str, Any]:
    family = name.rpartition("-ipv")[2]
    made = networking.endpoint_slice(
        name,
        service=SERVICE,
        namespace=NAMESPACE,
        address_type=f"IPv{family}",
        ports=_PORTS,
        endpoints=endpoints,
    )
    made["metadata"]["annotations"] = {"bench/number": str(number)}
    return made


def _endpoint(address: str, *, ready: bool = True, terminating: bool = False) -> dict[str, Any]:
    serving = ready or terminating
    ready = ready and not terminating
    return networking.endpoint(address, namespace=NAMESPACE, ready=ready, serving=serving, terminating=terminating)
