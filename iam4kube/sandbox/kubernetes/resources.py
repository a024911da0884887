"""The types of objects that the emulated API serves: one line each, everything else is generic."""

from dataclasses import dataclass
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]
"""An API object as decoded JSON. Stored ones are never changed in place: history and snapshots share them."""


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """One type of object, and what the API server does differently for it."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    has_status: bool = False
    """Has a `status` subresource, and then a plain update does not touch `status`."""
    status_on_create: bool = True
    """A create keeps the `status` that the client sent (nodes: kubelets register with one)."""
    graceful: bool = False
    """A delete only sets `deletionTimestamp` at first."""
    returns_deleted: bool = False
    """A delete answers with the object; the others answer with a Status."""
    fields: tuple[str, ...] = ()
    """What field selectors may name beside `metadata.name` and `metadata.namespace`."""

    @property
    def api_version(self) -> str:
        """Group and version as objects carry them: `v1`, `discovery.k8s.io/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As messages name it: `pods`, `endpointslices.discovery.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def prefix(self) -> str:
        """The path that all its requests begin with, up to the version."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"


# Selectable fields: pkg/apis/core/v1/conversion.go of Kubernetes 1.34.
RESOURCES = (
    ResourceType(
        plural="pods",
        kind="Pod",
        has_status=True,
        status_on_create=False,
        graceful=True,
        returns_deleted=True,
        fields=(
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ),
    ),
    ResourceType(plural="serviceaccounts", kind="ServiceAccount", returns_deleted=True),
    ResourceType(plural="secrets", kind="Secret"),
    ResourceType(plural="nodes", kind="Node", namespaced=False, has_status=True, fields=("spec.unschedulable",)),
    ResourceType(plural="namespaces", kind="Namespace", namespaced=False, has_status=True, fields=("status.phase",)),
    ResourceType(
        plural="services",
        kind="Service",
        has_status=True,
        returns_deleted=True,
        fields=("spec.clusterIP", "spec.type"),
    ),
    ResourceType(
        plural="events",
        kind="Event",
        fields=(
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ),
    ),
    ResourceType(plural="endpointslices", kind="EndpointSlice", group="discovery.k8s.io"),
    ResourceType(plural="leases", kind="Lease", group="coordination.k8s.io"),
)

BY_PLURAL = {resource.plural: resource for resource in RESOURCES}
BY_KIND = {(resource.api_version, resource.kind): resource for resource in RESOURCES}
BY_PATH = {(resource.group, resource.version, resource.plural): resource for resource in RESOURCES}


def resource_of(obj: Object) -> ResourceType:
    """The type of an object, by its `apiVersion` and `kind`. Raises `KeyError` for an unknown one."""
    return BY_KIND[obj["apiVersion"], obj["kind"]]


def key_of(obj: Object) -> str:
    """`namespace/name`, or `name` in the cluster's scope: the order of a list is the order of these."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def make_key(namespace: str | None, name: str) -> str:
    """The key of an object that is only named."""
    return f"{namespace}/{name}" if namespace else name
