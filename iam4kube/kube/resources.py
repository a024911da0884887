"""The kinds that are watched: where they live, how they decode, and what RBAC calls them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar
from urllib.parse import quote

from iam4kube.kube.decoding import (
    decode_endpoint_slice,
    decode_node,
    decode_pod,
    decode_service,
    decode_service_account,
)
from iam4kube.kube.errors import Json
from iam4kube.kube.objects import EndpointSlice, Node, Pod, ResourceVersion, Service, ServiceAccount, Uid


class Watched(Protocol):
    """What list-and-watch itself needs of every flat struct."""

    @property
    def name(self) -> str:
        """Unique within its namespace at any one time."""
        ...

    @property
    def uid(self) -> Uid:
        """Unique for ever: an object deleted and created again under its name has another."""
        ...

    @property
    def resource_version(self) -> ResourceVersion:
        """Differs after every change."""
        ...


T = TypeVar("T", bound=Watched)


@dataclass(frozen=True, kw_only=True)
class Resource(Generic[T]):
    """One kind of object that can be listed, watched and read."""

    plural: str
    """As in paths and in RBAC rules: `pods`."""
    group: str = ""
    """API group; empty for core."""
    version: str = "v1"
    decode: Callable[[Json], T]
    """From JSON to the flat struct. Raises `OddObject`."""
    namespace_of: Callable[[T], str]
    """The namespace of an object; empty for a cluster-scoped kind."""

    def collection_path(self, namespace: str = "") -> str:
        """Path of all objects, or of those of one namespace."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{quote(namespace)}/{self.plural}" if namespace else f"{root}/{self.plural}"

    def object_path(self, *, namespace: str, name: str) -> str:
        """Path of one object."""
        return f"{self.collection_path(namespace)}/{quote(name)}"


def _no_namespace(_: Node) -> str:
    return ""


PODS: Final = Resource[Pod](plural="pods", decode=decode_pod, namespace_of=lambda pod: pod.namespace)
SERVICE_ACCOUNTS: Final = Resource[ServiceAccount](
    plural="serviceaccounts", decode=decode_service_account, namespace_of=lambda account: account.namespace
)
NODES: Final = Resource[Node](plural="nodes", decode=decode_node, namespace_of=_no_namespace)
SERVICES: Final = Resource[Service](
    plural="services", decode=decode_service, namespace_of=lambda service: service.namespace
)
ENDPOINT_SLICES: Final = Resource[EndpointSlice](
    plural="endpointslices",
    group="discovery.k8s.io",
    decode=decode_endpoint_slice,
    namespace_of=lambda endpoint_slice: endpoint_slice.namespace,
)
