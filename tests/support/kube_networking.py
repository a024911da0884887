"""Services and EndpointSlices, decoded as a watch decodes them."""

from typing import Any

from iam4kube.kube.decoding import decode_endpoint_slice, decode_service
from iam4kube.kube.objects import EndpointSlice, Service
from iam4kube.sandbox.kubernetes import networking
from tests.support.kube_objects import encoded


def a_service(*, uid: str = "uid-1", version: str = "1", spec: dict[str, Any] | None = None, **known: Any) -> Service:
    """A Service with a port `router`, as `networking.service` makes it, but for what `spec` replaces."""
    obj = networking.service("iam4kube", namespace="iam4kube", **known)
    obj["metadata"] |= {"uid": uid, "resourceVersion": version}
    obj["spec"] |= spec or {}
    return decode_service(encoded(obj))


def a_slice(*endpoints: dict[str, Any], name: str = "iam4kube-a", version: str = "1", **changes: Any) -> EndpointSlice:
    """A slice of that Service with these endpoints, whose `networking.endpoint` makes them."""
    obj = networking.endpoint_slice(name, service="iam4kube", namespace="iam4kube", endpoints=endpoints, **changes)
    obj["metadata"] |= {"uid": f"uid-of-{name}", "resourceVersion": version}
    return decode_endpoint_slice(encoded(obj))
