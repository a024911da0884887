"""Services and EndpointSlices as an API server stores them: defaults and allocated addresses written out."""

from collections.abc import Mapping, Sequence

from iam4kube.sandbox.kubernetes.resources import Object


def service(
    name: str,
    *,
    namespace: str = "default",
    cluster_ips: Sequence[str] = ("10.96.0.50",),
    ports: Mapping[str, int] | None = None,
) -> Object:
    """A Service with `ports` by name; `cluster_ips` is `["None"]` for a headless one."""
    ports = {"http": 80, "router": 8169} if ports is None else ports
    families = ["IPv6" if ":" in address else "IPv4" for address in cluster_ips]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": "ClusterIP",
            "selector": {"app.kubernetes.io/name": name},
            "ports": [
                {"name": port_name, "port": port, "protocol": "TCP", "targetPort": port}
                for port_name, port in ports.items()
            ],
            "clusterIP": cluster_ips[0],
            "clusterIPs": list(cluster_ips),
            "ipFamilies": families if cluster_ips[0] != "None" else ["IPv4"],
            "ipFamilyPolicy": "RequireDualStack" if len(cluster_ips) > 1 else "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
        },
    }


def endpoint_slice(
    name: str,
    *,
    service: str,
    endpoints: Sequence[Object],
    namespace: str = "default",
    address_type: str = "IPv4",
    ports: Mapping[str, int] | None = None,
) -> Object:
    """A slice of a Service's endpoints, which listen on `ports` by the names of the Service's ports."""
    ports = {"http": 8080, "router": 8080} if ports is None else ports
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": service,
            },
        },
        "addressType": address_type,
        "endpoints": list(endpoints),
        "ports": [{"name": port_name, "port": port, "protocol": "TCP"} for port_name, port in ports.items()],
    }


def endpoint(
    address: str,
    *,
    pod: str = "server",
    namespace: str = "default",
    node: str = "node-a",
    zone: str = "eu-central-1a",
    ready: bool = True,
    serving: bool | None = None,
    terminating: bool = False,
    zone_hints: Sequence[str] = (),
    node_hints: Sequence[str] = (),
) -> Object:
    """A pod as an endpoint, with all of its conditions reported; `serving` is as `ready` unless it is given."""
    hints = {
        field: [{"name": hint} for hint in named]
        for field, named in (("forZones", zone_hints), ("forNodes", node_hints))
        if named
    }
    return {
        "addresses": [address],
        "conditions": {
            "ready": ready,
            "serving": ready if serving is None else serving,
            "terminating": terminating,
        },
        "nodeName": node,
        "zone": zone,
        "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod, "uid": f"uid-of-{pod}"},
        **({"hints": hints} if hints else {}),
    }
