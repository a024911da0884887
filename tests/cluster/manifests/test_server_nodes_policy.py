"""The admission policy for the servers' nodes: nobody else gets there, and everything else goes on."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.installed_cluster import InstalledCluster, Refused
from tests.support.manifests import BASE, find, rendered

pytestmark = pytest.mark.cluster

KEY = "node-role.kubernetes.io/iam4kube"
POLICY = "iam4kube-server-nodes"
TOLERATES = "may not tolerate the taint node-role.kubernetes.io/iam4kube"
NAMES = "may not name their node"


@pytest.fixture(scope="module")
def judged(installed: InstalledCluster) -> Iterator[InstalledCluster]:
    """With the namespace `tenant`. The policy is in force, and gone afterwards."""
    installed.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "tenant"}})
    installed.install(f"policies/{POLICY.removeprefix('iam4kube-')}")
    installed.until(lambda: NAMES in refusal(installed, nodeName="a"))
    yield installed
    installed.kubectl("delete", "validatingadmissionpolicybinding", POLICY)
    installed.until(lambda: refusal(installed, nodeName="a") == "")


def pod(**spec: Any) -> dict[str, Any]:
    """A pod with this in its specification."""
    return {"metadata": {"name": "pod"}, "spec": {"containers": [{"name": "a", "image": "a"}], **spec}}


def refusal(cluster: InstalledCluster, *, namespace: str = "tenant", **spec: Any) -> str:
    """Why such a pod is refused; empty if it is not. It is not kept."""
    try:
        cluster.ask("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod(**spec))
    except Refused as error:
        return error.message
    return ""


@pytest.mark.parametrize(
    "toleration",
    [
        {"key": KEY, "operator": "Exists", "effect": "NoSchedule"},
        {"key": KEY, "operator": "Equal", "value": ""},
        {"operator": "Exists"},
        {"operator": "Exists", "effect": "NoSchedule"},
    ],
)
def test_a_tenants_pod_may_not_tolerate_the_taint(judged: InstalledCluster, toleration: Any) -> None:
    """By its name or with all others, and not beside a harmless one."""
    harmless = {"key": "dedicated", "operator": "Exists"}
    assert TOLERATES in refusal(judged, tolerations=[harmless, toleration])


@pytest.mark.parametrize(
    "toleration",
    [
        {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"},
        {"operator": "Exists", "effect": "NoExecute"},
    ],
)
def test_other_tolerations_are_let_through(judged: InstalledCluster, toleration: Any) -> None:
    """Such as one for pods that stay when their node is not ready."""
    assert refusal(judged, tolerations=[toleration]) == ""
    assert refusal(judged) == ""


def test_a_tenants_pod_may_not_name_its_node(judged: InstalledCluster) -> None:
    """The kubelet runs it whatever taints there are, but for those that evict."""
    assert NAMES in refusal(judged, nodeName="server-1")


def test_a_pod_that_is_there_may_change_but_not_tolerate_more(judged: InstalledCluster) -> None:
    """One without a node could still get there."""
    path = "/api/v1/namespaces/tenant/pods"
    created = judged.ask("POST", path, {**pod(), "metadata": {"name": "there"}})
    judged.patch(f"{path}/there?dryRun=All", {"metadata": {"labels": {"a": "b"}}})
    more = [*created["spec"].get("tolerations", []), {"operator": "Exists"}]
    with pytest.raises(Refused, match=TOLERATES):
        judged.patch(f"{path}/there?dryRun=All", {"spec": {"tolerations": more}})


def test_servers_routers_and_the_systems_pods_are_not_judged(judged: InstalledCluster) -> None:
    """They belong there. The policy is about what the servers tolerate."""
    server = find(rendered(BASE), "Deployment", "iam4kube")["spec"]["template"]["spec"]
    assert TOLERATES in refusal(judged, **server)
    for namespace in ("kube-system", "iam4kube", "ip2service"):
        assert refusal(judged, namespace=namespace, **server, nodeName="server-1") == ""
