"""Decoding of Services and EndpointSlices: what absent fields mean, and what the router is spared."""

from collections.abc import Sequence
from typing import Any

import pytest

from iam4kube.kube.decoding import decode_endpoint_slice, decode_service
from iam4kube.kube.errors import OddObject
from iam4kube.kube.objects import Endpoint, EndpointSlice, Service
from iam4kube.sandbox.kubernetes.networking import endpoint, endpoint_slice, service
from tests.support.kube_objects import encoded

IDENTITY = {"uid": "uid-1", "resourceVersion": "7"}


def decoded_service(*, cluster_ips: Sequence[str] = ("10.96.0.50",), **spec: Any) -> Service:
    """A Service whose spec differs from the usual one in this."""
    obj = service("iam4kube", namespace="iam4kube", cluster_ips=cluster_ips)
    obj["metadata"] |= IDENTITY
    obj["spec"] |= spec
    return decode_service(encoded(obj))


def decoded_slice(*endpoints: dict[str, Any], **changes: Any) -> EndpointSlice:
    """A slice with these endpoints; `changes` are of the object."""
    obj = endpoint_slice("iam4kube-x", service="iam4kube", namespace="iam4kube", endpoints=endpoints) | changes
    obj["metadata"] = {**obj["metadata"], **IDENTITY}
    return decode_endpoint_slice(encoded(obj))


def decoded_endpoint(**changes: Any) -> Endpoint:
    """An endpoint that differs from the usual one in this."""
    [found] = decoded_slice({**endpoint("10.1.0.1"), **changes}).endpoints
    return found


def test_a_service() -> None:
    """All that the router reads of a Service is there."""
    found = decoded_service()
    assert (found.namespace, found.name, found.uid, found.resource_version) == ("iam4kube", "iam4kube", "uid-1", "7")
    assert (found.type, found.headless, found.cluster_ips) == ("ClusterIP", False, ("10.96.0.50",))
    assert [(port.name, port.port, port.protocol) for port in found.ports] == [
        ("http", 80, "TCP"),
        ("router", 8169, "TCP"),
    ]
    assert (found.internal_traffic_policy, found.session_affinity) == ("Cluster", "None")


def test_a_dual_stack_service_has_an_address_of_each_family() -> None:
    """Both count, canonical."""
    assert decoded_service(cluster_ips=["10.96.0.50", "FD00:96:0::50"]).cluster_ips == ("10.96.0.50", "fd00:96::50")


def test_a_lone_cluster_ip_counts() -> None:
    """`clusterIP` is enough where `clusterIPs` is missing."""
    assert decoded_service(clusterIPs=None).cluster_ips == ("10.96.0.50",)


def test_a_headless_service_says_so() -> None:
    """It has no address on purpose, which is another thing than one that has none yet."""
    headless = decoded_service(cluster_ips=["None"])
    assert (headless.headless, headless.cluster_ips) == (True, ())
    external = decoded_service(type="ExternalName", clusterIP="", clusterIPs=None, ports=None)
    assert (external.type, external.headless, external.cluster_ips, external.ports) == ("ExternalName", False, (), ())


def test_absent_fields_of_a_service_have_the_defaults_of_the_api() -> None:
    """An object that an old API server stored lacks what came later."""
    bare = {"metadata": {"name": "x", **IDENTITY}, "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}}
    found = decode_service(encoded(bare))
    assert (found.type, found.internal_traffic_policy, found.session_affinity) == ("ClusterIP", "Cluster", "None")
    assert [(port.name, port.port, port.protocol) for port in found.ports] == [("", 80, "TCP")]


def test_a_slice() -> None:
    """All that the router reads of a slice is there."""
    found = decoded_slice(endpoint("10.1.0.1"))
    assert (found.namespace, found.name, found.service) == ("iam4kube", "iam4kube-x", "iam4kube")
    assert (found.uid, found.resource_version, found.address_type) == ("uid-1", "7", "IPv4")
    assert [(port.name, port.port, port.protocol) for port in found.ports] == [
        ("http", 8080, "TCP"),
        ("router", 8080, "TCP"),
    ]


def test_an_endpoint() -> None:
    """Its addresses, its place, its hints, and the pod behind it."""
    hints = {"forZones": [{"name": "b"}, {"name": "c"}], "forNodes": [{"name": "node-z"}]}
    found = decoded_endpoint(addresses=["10.1.0.1", "::ffff:10.1.0.2", "server.example"], hints=hints)
    assert found.addresses == ("10.1.0.1", "10.1.0.2")
    assert (found.node, found.zone) == ("node-a", "eu-central-1a")
    assert (found.zone_hints, found.node_hints) == (("b", "c"), ("node-z",))
    assert found.target is not None
    assert (found.target.kind, found.target.namespace, found.target.name) == ("Pod", "default", "server")
    assert found.target.uid == "uid-of-server"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, (True, True, False)),
        ({}, (True, True, False)),
        ({"ready": None, "serving": None, "terminating": None}, (True, True, False)),
        ({"ready": True}, (True, True, False)),
        ({"ready": False}, (False, False, False)),
        ({"ready": False, "serving": True, "terminating": True}, (False, True, True)),
        ({"ready": True, "serving": False}, (True, False, False)),
        ({"ready": False, "terminating": True}, (False, False, True)),
    ],
)
def test_conditions_that_nobody_reported(conditions: dict[str, bool] | None, expected: tuple[bool, bool, bool]) -> None:
    """An unknown readiness is ready, an unknown serving is as ready as it is, and unknown is not terminating."""
    found = decoded_endpoint(conditions=conditions)
    assert (found.ready, found.serving, found.terminating) == expected


def test_an_endpoint_with_nothing_but_an_address() -> None:
    """As people write them by hand, for a Service without a selector."""
    [found] = decoded_slice({"addresses": ["10.1.0.1"]}).endpoints
    assert (found.node, found.zone, found.zone_hints, found.node_hints, found.target) == ("", "", (), (), None)


def test_null_is_absent_in_a_slice() -> None:
    """A slice without endpoints or ports is written with null; a port may lack all its fields."""
    empty = decoded_slice(endpoints=None, ports=None)
    assert (empty.endpoints, empty.ports) == ((), ())
    [port] = decoded_slice(ports=[{}]).ports
    assert (port.name, port.port, port.protocol) == ("", None, "TCP")


def test_a_slice_of_host_names_has_no_addresses() -> None:
    """Nothing can be sent to a name."""
    found = decoded_slice({"addresses": ["server.example"]}, addressType="FQDN")
    assert [each.addresses for each in found.endpoints] == [()]


def test_addresses_of_another_family_are_left_out() -> None:
    """A slice has one family, and an IPv4-mapped address is of IPv4: in a map of the other it would fail everything."""
    addresses = ["fd00::1", "::ffff:10.1.0.1", "10.1.0.2"]
    found = decoded_slice({"addresses": addresses}, addressType="IPv6")
    assert [each.addresses for each in found.endpoints] == [("fd00::1",)]


def test_a_slice_that_belongs_to_nothing() -> None:
    """Without the label it says no Service."""
    assert decoded_slice(metadata={"name": "iam4kube-x", "namespace": "iam4kube"}).service == ""


@pytest.mark.parametrize("spec", [{"ports": [{"name": "router"}]}, {"ports": {}}, {"type": 1}, {"clusterIPs": [1]}])
def test_an_odd_service(spec: dict[str, Any]) -> None:
    """What is not what it should be is said."""
    with pytest.raises(OddObject, match=r"."):
        decoded_service(**spec)


@pytest.mark.parametrize(
    "changes", [{"addressType": None}, {"ports": [{"port": "80"}]}, {"endpoints": [{"addresses": "10.1.0.1"}]}]
)
def test_an_odd_slice(changes: dict[str, Any]) -> None:
    """The same, of slices."""
    with pytest.raises(OddObject, match=r"."):
        decoded_slice(**changes)
