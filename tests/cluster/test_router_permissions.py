"""The router's part of docs/permissions.md, pasted into a real cluster: it is enough, and nothing is superfluous."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from iam4kube.kube.client import KubeClient
from iam4kube.kube.configuration import Kubeconfig
from iam4kube.kube.events import EventRecorder
from iam4kube.kube.metrics import KubeMetrics
from iam4kube.kube.objects import Address
from iam4kube.kube.permissions import STARTUP_TAINT_PERMISSION
from iam4kube.runtime.clock import utc_now
from iam4kube.sandbox.kubernetes.networking import endpoint, endpoint_slice, service
from ip2service.node import NodeEvents, NodeReader
from ip2service.problems import ServiceReference
from ip2service.selection import Place
from ip2service.startup_taint import StartupTaint
from tests.support.real_cluster import RealCluster
from tests.support.router_backends import watched_backends
from tests.support.waiting import eventually

pytestmark = pytest.mark.cluster

PAGE = Path(__file__).parents[2] / "docs" / "permissions.md"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
TAINT = "ip2service.example/starting"


def account(cluster: RealCluster) -> str:
    """The router's ServiceAccount and its roles, by a name of the test's own."""
    return f"ip2service-of-{cluster.home}"


async def paste(cluster: RealCluster) -> None:
    """Apply what the page says, in the test's own namespace."""
    section = PAGE.read_text().split("## The router\n")[1]
    text = section.split("```yaml\n")[1].split("```")[0]
    text = re.sub("namespace: (iam4kube|ip2service)", f"namespace: {cluster.home}", text)
    text = re.sub(r"\bip2service\b", account(cluster), text)
    for document in yaml.safe_load_all(text):
        await cluster.ask("POST", _path(document), document)


def _path(document: dict[str, Any]) -> str:
    namespace = document["metadata"].get("namespace")
    return f"{RBAC}/{f'namespaces/{namespace}/' if namespace else ''}{document['kind'].lower()}s"


@asynccontextmanager
async def routers_client(cluster: RealCluster) -> AsyncIterator[KubeClient]:
    """A client with the token of the router's ServiceAccount, once it may do what the page says."""
    await cluster.add_account(account(cluster), namespace=cluster.home)
    await paste(cluster)
    token = await asyncio.to_thread(cluster.control_plane.token, cluster.home, account(cluster), lifetime=3600)
    cluster.control_plane.kubeconfig(cluster.kubeconfig, token=token)
    async with KubeClient(Kubeconfig(paths=(cluster.kubeconfig,)), user_agent="test") as client:

        async def is_granted() -> bool:
            return await status(client, "GET", f"/api/v1/nodes/{cluster.node}") == 200

        await eventually(is_granted)
        yield client


async def status(client: KubeClient, method: str, path: str, body: object | None = None) -> int:
    """How the API server answers."""
    return (await client.request(method, path, body=body)).status


async def test_backends_follow_the_real_api_server(cluster: RealCluster) -> None:
    """Service and slices appear, the Service is deleted and made anew with another address, and a slice goes."""
    reference = ServiceReference(namespace=cluster.home, name="iam4kube")
    services = f"/api/v1/namespaces/{cluster.home}/services"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{cluster.home}/endpointslices"
    async with routers_client(cluster) as client, watched_backends(client, reference, node=cluster.node) as watched:

        def has_address(address: str) -> bool:
            return watched.ipv4.cluster_ip == address

        await watched.until(lambda: watched.view.synced)
        assert watched.view.broken is not None
        obj = endpoint_slice(
            "iam4kube-a",
            service="iam4kube",
            namespace=cluster.home,
            endpoints=[endpoint("10.1.0.1", namespace=cluster.home)],
        )
        await cluster.ask("POST", slices, obj)
        for address in ("10.96.77.51", "10.96.77.52"):
            await cluster.ask("POST", services, service("iam4kube", namespace=cluster.home, cluster_ips=[address]))
            await watched.until(partial(has_address, address))
            assert watched.ipv4.gate
            await cluster.ask("DELETE", f"{services}/iam4kube")
            await watched.until(lambda: watched.view.broken is not None)
        await cluster.ask("DELETE", f"{slices}/iam4kube-a")
        await watched.until(lambda: not watched.ipv4.addresses_in_slices)


async def test_the_node_is_read_and_told(cluster: RealCluster) -> None:
    """Zone and addresses are known, and what is broken is an event in the namespace `default`."""
    places: list[Place] = []
    async with routers_client(cluster) as client:
        metrics = KubeMetrics(CollectorRegistry(), program="test")
        recorder = EventRecorder(client, metrics=metrics, now=utc_now, component="ip2service", instance=cluster.node)
        reader = NodeReader(client, cluster.node, changed=places.append)
        tasks = [asyncio.create_task(recorder.run()), asyncio.create_task(reader.run())]
        events = NodeEvents(recorder, cluster.node)
        events.tell("no Service")
        events.tell("")
        events.tell("no Service")

        async def is_told() -> bool:
            told = await cluster.events(cluster.node, namespace="default")
            found = {(event.type, event.reason, event.message, event.times) for event in told}
            return ("Warning", "RoutingBroken", "no Service", 2) in found and len(found) == 2 and bool(places)

        await eventually(is_told)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    addresses = frozenset([Address(cluster.node_address)])
    assert places == [Place(node=cluster.node, zone="eu-central-1a", addresses=addresses)]


async def test_a_taint_needs_one_rule_more(cluster: RealCluster, caplog: pytest.LogCaptureFixture) -> None:
    """Without it the taint stays and the log says why; with it, that taint goes and the others stay."""
    other = {"key": "dedicated", "effect": "NoSchedule"}
    taints = [{"key": TAINT, "effect": "NoSchedule"}, other, {"key": TAINT, "effect": "NoExecute"}]
    path = f"/api/v1/nodes/{cluster.node}"
    await cluster.patch(path, {"spec": {"taints": taints}})
    async with routers_client(cluster) as client:
        removal = asyncio.create_task(
            StartupTaint(client, node=cluster.node, key=TAINT).remove(partial(asyncio.sleep, 0))
        )

        async def is_refused() -> bool:
            return any('cannot patch resource "nodes"' in getattr(record, "error", "") for record in caplog.records)

        await eventually(is_refused)
        role = f"{RBAC}/clusterroles/{account(cluster)}"
        rules = (await cluster.ask("GET", role))["rules"]
        rules.append({"apiGroups": [""], "resources": ["nodes"], "verbs": list(STARTUP_TAINT_PERMISSION.verbs)})
        await cluster.patch(role, {"rules": rules})
        await removal
    left = (await cluster.ask("GET", path))["spec"]["taints"]
    assert [taint["key"] for taint in left if not taint["key"].startswith("node.kubernetes.io/")] == ["dedicated"]


async def test_nothing_else_is_permitted(cluster: RealCluster) -> None:
    """No other namespace, no Secret, no pod, no list of nodes."""
    async with routers_client(cluster) as client:
        for path in (
            "/api/v1/services",
            f"/api/v1/namespaces/{cluster.shop}/services",
            f"/api/v1/namespaces/{cluster.home}/secrets",
            f"/api/v1/namespaces/{cluster.home}/pods",
            f"/api/v1/namespaces/{cluster.home}/configmaps",
            "/apis/discovery.k8s.io/v1/endpointslices",
            "/api/v1/nodes",
        ):
            assert await status(client, "GET", path) == 403, path
        for namespace in (cluster.home, "kube-system"):
            assert await status(client, "POST", f"/api/v1/namespaces/{namespace}/events", {}) == 403
