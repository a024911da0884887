"""Where the real controllers and the real scheduler put what the manifests make, over upgrades and lost zones.

The test is every kubelet: pods that are bound become ready at once, and those that are to end are gone at once.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.audit import AuditLog
from tests.support.controlplane import ControlPlane
from tests.support.installed_cluster import InstalledCluster
from tests.support.upgrade_controllers import Controllers

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

ZONES = ("a", "b", "c")
SERVER_NODES = [f"server-{zone}{number}" for zone in ZONES for number in (1, 2)]
WORKERS = ["worker-a1", "worker-b1"]
SERVERS = "/api/v1/namespaces/iam4kube/pods?labelSelector=app.kubernetes.io/component=server"
_UPGRADES = 10  # by chance one or two go well with zones counted over both versions
DEPLOYMENT = "/apis/apps/v1/namespaces/iam4kube/deployments/iam4kube"


@dataclass
class Kubelets:
    """The nodes of a cluster, and what happens on them."""

    cluster: InstalledCluster

    def __post_init__(self) -> None:
        for name in SERVER_NODES + WORKERS:
            self._register(name)

    def _register(self, name: str) -> None:
        role = "node-role.kubernetes.io/iam4kube"
        is_server = name in SERVER_NODES
        labels = {
            "kubernetes.io/os": "linux",
            "kubernetes.io/hostname": name,
            "topology.kubernetes.io/zone": name.partition("-")[2][0],
            **({role: ""} if is_server else {}),
        }
        taints = [{"key": role, "effect": "NoSchedule"}] if is_server else []
        room = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        status = {"conditions": [{"type": "Ready", "status": "True"}], "capacity": room, "allocatable": room}
        node = {"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}, "status": status}
        self.cluster.ask("POST", "/api/v1/nodes", node)

    def work(self) -> None:
        """Bring every pod to where it is wanted."""
        for pod in self.cluster.ask("GET", "/api/v1/pods")["items"]:
            metadata, conditions = pod["metadata"], pod["status"].get("conditions", [])
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
            if "deletionTimestamp" in metadata:
                self.cluster.ask("DELETE", f"{path}?gracePeriodSeconds=0")
            elif "nodeName" in pod["spec"] and not any(each["type"] == "Ready" for each in conditions):
                ready = {"phase": "Running", "conditions": [*conditions, {"type": "Ready", "status": "True"}]}
                self.cluster.patch(f"{path}/status", {"status": ready})

    def servers(self) -> list[dict[str, Any]]:
        """The servers' pods."""
        found: list[dict[str, Any]] = self.cluster.ask("GET", SERVERS)["items"]
        return found

    def until_rolled_out(self) -> list[str]:
        """Wait until three servers of the present version are ready and no other is there. Returns their nodes."""

        def is_done() -> bool:
            self.work()
            deployment = self.cluster.ask("GET", DEPLOYMENT)
            status, observed = deployment["status"], deployment["status"].get("observedGeneration")
            counts = [status.get(each, 0) for each in ("replicas", "updatedReplicas", "availableReplicas")]
            return observed == deployment["metadata"]["generation"] and counts == [3, 3, 3] == [len(self.servers())] * 3

        self.cluster.until(is_done)
        return [pod["spec"]["nodeName"] for pod in self.servers()]


@pytest.fixture(scope="module")
def kubelets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelets]:
    """A cluster with the high-availability overlay, rolled out."""
    folder = tmp_path_factory.mktemp("scheduled")
    assets = Path(os.environ["KUBEBUILDER_ASSETS"])
    with ControlPlane(assets, folder, admit_service_accounts=True) as plane, Controllers(plane, folder):
        cluster = InstalledCluster(plane, AuditLog(folder), folder)
        kubelets = Kubelets(cluster)
        cluster.install("overlays/high-availability")
        cluster.patch(DEPLOYMENT, {"spec": {"minReadySeconds": 0}})  # nothing here needs time to get about
        kubelets.until_rolled_out()
        yield kubelets


def zones(nodes: list[str]) -> Counter[str]:
    """How many are in each zone."""
    return Counter(node.partition("-")[2][0] for node in nodes)


def test_servers_are_on_their_nodes_in_every_zone_after_each_upgrade(kubelets: Kubelets) -> None:
    """Although at any time four are there, and the old ones hold places that the new ones will need."""
    for number in range(_UPGRADES):
        nodes = kubelets.until_rolled_out()
        assert set(nodes) <= set(SERVER_NODES)
        assert zones(nodes) == Counter(ZONES)
        template = {"metadata": {"annotations": {"upgrade": str(number)}}}
        kubelets.cluster.patch(DEPLOYMENT, {"spec": {"template": template}})


def test_routers_are_on_every_node_and_the_job_on_a_servers(kubelets: Kubelets) -> None:
    """Whatever a node's taints are."""
    taint = {"spec": {"taints": [{"key": "dedicated", "effect": "NoExecute"}]}}
    kubelets.cluster.patch("/api/v1/nodes/worker-b1", taint)

    def nodes_of(component: str) -> list[str]:
        path = f"/api/v1/pods?labelSelector=app.kubernetes.io/component={component}"
        return sorted(pod["spec"].get("nodeName", "") for pod in kubelets.cluster.ask("GET", path)["items"])

    kubelets.cluster.until(lambda: nodes_of("router") == sorted(SERVER_NODES + WORKERS))
    [node] = nodes_of("token-keys")
    assert node in SERVER_NODES


def test_routers_are_not_on_fargate(kubelets: Kubelets) -> None:
    """A pod of a DaemonSet never starts there, and no roll-out would end."""

    def has_router() -> bool:
        kubelets.work()
        path = "/api/v1/pods?labelSelector=app.kubernetes.io/component=router"
        return any(pod["spec"].get("nodeName") == "worker-a1" for pod in kubelets.cluster.ask("GET", path)["items"])

    def call_it(compute_type: str | None) -> None:
        label = {"metadata": {"labels": {"eks.amazonaws.com/compute-type": compute_type}}}
        kubelets.cluster.patch("/api/v1/nodes/worker-a1", label)

    kubelets.cluster.until(has_router)
    call_it("fargate")
    kubelets.cluster.until(lambda: not has_router())
    call_it(None)
    kubelets.cluster.until(has_router)


def test_a_lost_zones_server_finds_a_place_in_another(kubelets: Kubelets) -> None:
    """A zone whose nodes do not answer does not count, so the others may hold more; also for an upgrade after that."""
    kubelets.until_rolled_out()
    for number in (1, 2):
        path = f"/api/v1/nodes/server-c{number}"
        taints = kubelets.cluster.ask("GET", path)["spec"]["taints"]
        gone = [
            {"key": "node.kubernetes.io/out-of-service", "effect": effect} for effect in ("NoSchedule", "NoExecute")
        ]
        kubelets.cluster.patch(path, {"spec": {"taints": taints + gone}})
    for pod in kubelets.servers():
        if pod["spec"]["nodeName"].startswith("server-c"):
            name = pod["metadata"]["name"]
            kubelets.cluster.ask("DELETE", f"/api/v1/namespaces/iam4kube/pods/{name}?gracePeriodSeconds=0")
    assert set(zones(kubelets.until_rolled_out())) == {"a", "b"}
    kubelets.cluster.patch(DEPLOYMENT, {"spec": {"template": {"metadata": {"annotations": {"upgrade": "last"}}}}})
    nodes = kubelets.until_rolled_out()
    assert set(zones(nodes)) == {"a", "b"}
    assert len(set(nodes)) == 3, "two on one node, while another has none"
