"""Services and EndpointSlices as the API server sends them: see `wire`.

Fields that are pointers in Go may be absent, and absent is not false: a condition that nobody reported has a
meaning of its own, which `decoding` gives it.
"""

import msgspec

from iam4kube.kube.wire import ObjectMeta, Wire


class ServicePort(Wire, frozen=True):
    """An entry of a Service's `spec.ports`."""

    port: int
    name: str = ""
    protocol: str = "TCP"


class ServiceSpec(Wire, frozen=True):
    """`spec` of a Service."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: tuple[str, ...] | None = msgspec.field(name="clusterIPs", default=None)
    ports: tuple[ServicePort, ...] | None = None
    internal_traffic_policy: str | None = None
    session_affinity: str = "None"


class Service(Wire, frozen=True):
    """A Service."""

    metadata: ObjectMeta
    spec: ServiceSpec


class EndpointPort(Wire, frozen=True):
    """An entry of an EndpointSlice's `ports`."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class EndpointConditions(Wire, frozen=True):
    """An endpoint's `conditions`."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(Wire, frozen=True):
    """An entry of `hints.forZones` or `hints.forNodes`."""

    name: str


class EndpointHints(Wire, frozen=True):
    """An endpoint's `hints`."""

    for_zones: tuple[Hint, ...] | None = None
    for_nodes: tuple[Hint, ...] | None = None


class TargetReference(Wire, frozen=True):
    """An endpoint's `targetRef`."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Endpoint(Wire, frozen=True):
    """An entry of an EndpointSlice's `endpoints`."""

    addresses: tuple[str, ...] | None = None
    conditions: EndpointConditions | None = None
    target_ref: TargetReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None


class EndpointSlice(Wire, frozen=True):
    """An EndpointSlice of discovery.k8s.io/v1."""

    metadata: ObjectMeta
    address_type: str
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None
