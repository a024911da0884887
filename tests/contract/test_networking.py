"""What the router relies on: Services, EndpointSlices and the taints of nodes, written and read back."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from iam4kube.kube.decoding import decode_endpoint_slice, decode_service
from iam4kube.sandbox.kubernetes import objects
from iam4kube.sandbox.kubernetes.networking import endpoint, endpoint_slice, service
from tests.contract.conftest import Answer, ApiServer

MERGE = "application/merge-patch+json"
SERVICE_LABEL = "kubernetes.io/service-name"


def encoded(body: dict[str, Any]) -> bytes:
    """JSON again."""
    return json.dumps(body).encode()


async def test_a_service_is_read_as_it_was_written(server: ApiServer) -> None:
    """Its address, its ports, and how traffic is spread."""
    found = decode_service(encoded(await server.create(service("iam4kube", cluster_ips=["10.96.77.50"]))))
    await server.ask("DELETE", server.path("services", "iam4kube"))  # the address is the whole cluster's
    assert (found.type, found.headless, found.cluster_ips) == ("ClusterIP", False, ("10.96.77.50",))
    assert [(port.name, port.port, port.protocol) for port in found.ports] == [
        ("http", 80, "TCP"),
        ("router", 8169, "TCP"),
    ]
    assert (found.internal_traffic_policy, found.session_affinity) == ("Cluster", "None")


async def test_a_headless_service_has_no_address(server: ApiServer) -> None:
    """None on purpose."""
    found = decode_service(encoded(await server.create(service("iam4kube", cluster_ips=["None"]))))
    assert (found.headless, found.cluster_ips) == (True, ())


async def test_a_slice_is_read_as_it_was_written(server: ApiServer) -> None:
    """Service, ports, and each endpoint's state, place and hints."""
    written = endpoint_slice(
        "iam4kube-x",
        service="iam4kube",
        endpoints=[
            endpoint("10.1.0.1", zone_hints=["eu-central-1a"]),
            endpoint("10.1.0.2", ready=False, serving=True, terminating=True),
            {"addresses": ["10.1.0.3"]},
        ],
    )
    found = decode_endpoint_slice(encoded(await server.create(written)))
    assert (found.service, found.address_type) == ("iam4kube", "IPv4")
    assert ("router", 8080, "TCP") in [(port.name, port.port, port.protocol) for port in found.ports]
    assert [(each.ready, each.serving, each.terminating) for each in found.endpoints] == [
        (True, True, False),
        (False, True, True),
        (True, True, False),
    ]
    first = found.endpoints[0]
    assert (first.addresses, first.node, first.zone) == (("10.1.0.1",), "node-a", "eu-central-1a")
    assert (first.zone_hints, first.target and first.target.name) == (("eu-central-1a",), "server")


async def test_slices_are_watched_by_the_service_they_belong_to(server: ApiServer) -> None:
    """Of another Service's slices nothing is heard."""
    path = server.path("endpointslices")
    version = (await server.get(path))["metadata"]["resourceVersion"]
    for name in ("iam4kube", "other"):
        await server.create(endpoint_slice(f"{name}-x", service=name, endpoints=[endpoint("10.1.0.1")]))
    gone: dict[str, object] = {"endpoints": []}
    await server.ask("PATCH", server.path("endpointslices", "iam4kube-x"), gone, content_type=MERGE)
    await server.ask("DELETE", server.path("endpointslices", "iam4kube-x"))
    events = await server.watch(path, resourceVersion=version, labelSelector=f"{SERVICE_LABEL}=iam4kube")
    kept = [(event["type"], event["object"]) for event in events if event["type"] != "BOOKMARK"]
    assert [(kind, obj["metadata"]["name"]) for kind, obj in kept] == [
        ("ADDED", "iam4kube-x"),
        ("MODIFIED", "iam4kube-x"),
        ("DELETED", "iam4kube-x"),
    ]
    assert [len(obj["endpoints"] or ()) for _, obj in kept] == [1, 0, 0]


async def test_a_service_created_again_is_another_one(server: ApiServer) -> None:
    """A watch says both: it is gone, and there is one of that name with another UID."""
    version = (await server.get(server.path("services")))["metadata"]["resourceVersion"]
    for _ in range(2):
        await server.create(service("iam4kube", cluster_ips=["None"]))
        await server.ask("DELETE", server.path("services", "iam4kube"))
    events = await server.watch(
        server.path("services"), resourceVersion=version, fieldSelector="metadata.name=iam4kube"
    )
    kept = [event for event in events if event["type"] != "BOOKMARK"]
    assert [event["type"] for event in kept] == ["ADDED", "DELETED", "ADDED", "DELETED"]
    assert len({event["object"]["metadata"]["uid"] for event in kept}) == 2


@pytest.mark.parametrize("left", [[], [{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]])
async def test_taints_are_replaced_by_whoever_saw_the_last_write(
    server: ApiServer, left: Sequence[dict[str, str]]
) -> None:
    """A patch that names an old version is refused, so no taint that came in between is lost."""
    name = f"{server.namespace}-node"
    startup = [{"key": "startup", "effect": effect} for effect in ("NoSchedule", "NoExecute")]
    created = await server.create(objects.node(name, taints=[*left, *startup]))
    path = f"/api/v1/nodes/{name}"

    async def leave(version: str) -> Answer:
        patch = {"metadata": {"resourceVersion": version}, "spec": {"taints": list(left) or None}}
        return await server.ask("PATCH", path, patch, content_type=MERGE)

    try:
        await server.ask("PATCH", path, {"metadata": {"labels": {"x": "y"}}}, content_type=MERGE)
        assert (await leave(created["metadata"]["resourceVersion"])).status == 409
        present = await server.get(path)
        assert (await leave(present["metadata"]["resourceVersion"])).status == 200
        assert (await server.get(path))["spec"].get("taints", []) == left
    finally:
        await server.ask("DELETE", path)
