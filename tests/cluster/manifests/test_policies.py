"""The admission policies let through what they are for, and nothing beside it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from iam4kube.kube.client import KubeClient
from iam4kube.kube.configuration import Kubeconfig
from ip2service.startup_taint import StartupTaint
from tests.support.installed_cluster import InstalledCluster, Refused

pytestmark = pytest.mark.cluster

KEY = "ip2service/not-ready"
OURS = [{"key": KEY, "effect": "NoSchedule"}, {"key": KEY, "effect": "NoExecute", "value": "x"}]
OTHERS = [{"key": "dedicated", "effect": "NoSchedule"}]
OWN_NODE, OTHER_NODE = "/api/v1/nodes/worker-1", "/api/v1/nodes/worker-2"


@pytest.fixture(scope="module")
def router(installed: InstalledCluster) -> str:
    """The token of the router's pod on worker-1; the policy is in force."""
    installed.install("overlays/startup-taint")
    for node in ("worker-1", "worker-2"):
        spec = {"taints": OURS + OTHERS, "podCIDR": "10.1.0.0/24", "providerID": "aws:///eu-central-1a/i-1"}
        installed.ask("POST", "/api/v1/nodes", {"metadata": {"name": node, "labels": {"team": "a"}}, "spec": spec})
    pod = {"nodeName": "worker-1", "serviceAccountName": "ip2service", "containers": [{"name": "a", "image": "a"}]}
    pods = "/api/v1/namespaces/ip2service/pods"
    installed.ask("POST", pods, {"metadata": {"name": "ip2service-1"}, "spec": pod})
    token = installed.token_of_pod("ip2service", "ip2service-1", "ip2service")

    def is_judged() -> bool:
        return "the router may only" in refusal(installed, OTHER_NODE, {"spec": {"taints": OTHERS}}, token=token)

    installed.until(is_judged)
    return token


def refusal(installed: InstalledCluster, path: str, changes: Any, *, token: str) -> str:
    """Why a change is refused; empty if it is not. Nothing is changed."""
    try:
        installed.patch(f"{path}?dryRun=All", changes, token=token)
    except Refused as error:
        return error.message
    return ""


async def test_the_router_removes_its_taint_from_its_node(installed: InstalledCluster, router: str) -> None:
    """By what the program really does, with the token that its pod really gets; the other taint stays."""
    config = installed.kubeconfig("router", router)
    async with KubeClient(Kubeconfig(paths=(config,)), user_agent="test") as client:
        await StartupTaint(client, node="worker-1", key=KEY).remove(partial(asyncio.sleep, 0))
    node = await asyncio.to_thread(installed.ask, "GET", OWN_NODE)
    assert {taint["key"] for taint in node["spec"]["taints"]} == {"dedicated", "node.kubernetes.io/not-ready"}
    await asyncio.to_thread(installed.patch, OWN_NODE, {"spec": {"taints": OURS + OTHERS}})


def test_the_router_removes_it_where_it_is_the_last(installed: InstalledCluster, router: str) -> None:
    """No list is the same as an empty one."""
    installed.patch(OWN_NODE, {"spec": {"taints": OURS}})
    assert refusal(installed, OWN_NODE, {"spec": {"taints": None}}, token=router) == ""
    installed.patch(OWN_NODE, {"spec": {"taints": OURS + OTHERS}})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"spec": {"taints": OURS}}, "may only remove the taint ip2service/not-ready"),
        ({"spec": {"taints": None}}, "may only remove the taint"),
        ({"spec": {"taints": [*OTHERS, *OURS, {"key": "x", "effect": "NoExecute"}]}}, "may only remove the taint"),
        ({"spec": {"taints": [{"key": "dedicated", "effect": "NoExecute"}]}}, "may only remove the taint"),
        ({"metadata": {"labels": {"node-role.kubernetes.io/iam4kube": ""}}}, "nothing of a node but its taints"),
        ({"metadata": {"labels": {"team": None}}}, "nothing of a node but its taints"),
        ({"metadata": {"annotations": {"a": "b"}}}, "nothing of a node but its taints"),
        ({"metadata": {"finalizers": ["a.example/b"]}}, "nothing of a node but its taints"),
        ({"spec": {"unschedulable": True}}, "nothing of a node but its taints"),
    ],
)
def test_the_router_changes_nothing_else_of_its_node(
    installed: InstalledCluster, router: str, changes: Any, reason: str
) -> None:
    """Not by itself, and not along with its taint."""
    with_taints = {**changes, "spec": {"taints": OTHERS, **changes.get("spec", {})}}
    assert reason in refusal(installed, OWN_NODE, with_taints, token=router)


def test_the_router_changes_no_other_node(installed: InstalledCluster, router: str) -> None:
    """Not even by what it may do to its own."""
    assert "the node that its own pod runs on" in refusal(
        installed, OTHER_NODE, {"spec": {"taints": OTHERS}}, token=router
    )
    assert refusal(installed, OWN_NODE, {"spec": {"taints": OTHERS}}, token=router) == ""


def test_a_token_without_a_node_changes_nothing(installed: InstalledCluster, router: str) -> None:
    """As whoever may ask for tokens of the ServiceAccount gets it."""
    token = installed.control_plane.token("ip2service", "ip2service", lifetime=600)
    assert "the node that its own pod runs on" in refusal(
        installed, OWN_NODE, {"spec": {"taints": OTHERS}}, token=token
    )


def test_nobody_else_is_judged(installed: InstalledCluster, router: str) -> None:
    """Kubelets and controllers go on changing nodes."""
    installed.patch(OTHER_NODE, {"metadata": {"labels": {"team": "b"}}, "spec": {"unschedulable": True}})


ROLE_ARN, EXTERNAL_ID = "iam.amazonaws.com/roleArn", "iam.amazonaws.com/roleExternalId"
ALLOWED = "arn:aws:iam::111122223333:role/iam4kube/shop/orders"
ACCOUNTS = "/api/v1/namespaces/shop/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop"


@dataclass(frozen=True)
class Tenants:
    """Two who may write ServiceAccounts in the namespace `shop`."""

    editor: str
    """The token of one who may do nothing else."""
    assigner: str
    """And of one who may assign roles, too."""


def annotations(arn: str | None = None, external_id: str | None = None) -> dict[str, Any]:
    """A change of a ServiceAccount's annotations; None removes one."""
    return {"metadata": {"annotations": {ROLE_ARN: arn, EXTERNAL_ID: external_id}}}


@pytest.fixture(scope="module")
def tenants(installed: InstalledCluster) -> Iterator[Tenants]:
    """Who they are. The policy is in force, and gone afterwards."""
    installed.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    rules = [{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["create", "update", "patch"]}]
    installed.ask("POST", f"{RBAC}/roles", {"metadata": {"name": "editor"}, "rules": rules})
    for name, roles in {
        "editor": ["Role/editor"],
        "assigner": ["Role/editor", "ClusterRole/iam4kube-assign-roles"],
    }.items():
        installed.ask("POST", ACCOUNTS, {"metadata": {"name": name}})
        for kind, _, role in (each.partition("/") for each in roles):
            binding = {
                "metadata": {"name": f"{name}-{role}"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
                "subjects": [{"kind": "ServiceAccount", "namespace": "shop", "name": name}],
            }
            installed.ask("POST", f"{RBAC}/rolebindings", binding)
    for name, arn in {"plain": None, "orders": ALLOWED, "older": "arn:aws:iam::999999999999:role/before"}.items():
        account = {"metadata": {"name": name, "annotations": {ROLE_ARN: arn} if arn else {}}}
        installed.ask("POST", ACCOUNTS, account)
    installed.install("policies/role-annotations")
    tenants = Tenants(*(installed.control_plane.token("shop", name, lifetime=600) for name in ("editor", "assigner")))

    def is_judged() -> bool:
        set_by_editor = refused(installed, "plain", annotations(ALLOWED), token=tenants.editor)
        set_by_assigner = refused(installed, "plain", annotations("x"), token=tenants.assigner)
        return "may not change" in set_by_editor and "is not a role" in set_by_assigner

    installed.until(is_judged)
    yield tenants
    installed.kubectl("delete", "validatingadmissionpolicybinding", "iam4kube-role-annotations")
    installed.until(lambda: not refused(installed, "plain", annotations("x"), token=tenants.assigner))


def refused(installed: InstalledCluster, account: str, changes: Any, *, token: str) -> str:
    """Why a change of a ServiceAccount is refused; empty if it is not."""
    return refusal(installed, f"{ACCOUNTS}/{account}", changes, token=token)


def test_an_editor_sets_changes_and_removes_no_role(installed: InstalledCluster, tenants: Tenants) -> None:
    """The message names what is missing."""
    for account, change in {"plain": annotations(ALLOWED), "orders": annotations(f"{ALLOWED}2")}.items():
        reason = refused(installed, account, change, token=tenants.editor)
        assert "it needs the verb assign on roles.iam.amazonaws.com there" in reason
    assert "may not change" in refused(installed, "orders", annotations(None), token=tenants.editor)
    assert "may not change" in refused(installed, "orders", annotations(ALLOWED, "id"), token=tenants.editor)
    created = {"metadata": {"name": "new", "annotations": {ROLE_ARN: ALLOWED}}}
    with pytest.raises(Refused, match="may not change"):
        installed.ask("POST", f"{ACCOUNTS}?dryRun=All", created, token=tenants.editor)


def test_an_editor_does_everything_else(installed: InstalledCluster, tenants: Tenants) -> None:
    """With ServiceAccounts that have a role as well, also one that would not be allowed today."""
    change = {"metadata": {"labels": {"a": "b"}, "annotations": {"other.example/note": "c"}}}
    for account in ("plain", "orders", "older"):
        assert refused(installed, account, change, token=tenants.editor) == ""
    installed.ask("POST", f"{ACCOUNTS}?dryRun=All", {"metadata": {"name": "new"}}, token=tenants.editor)


def test_whoever_may_assign_gives_and_takes_roles(installed: InstalledCluster, tenants: Tenants) -> None:
    """And external IDs."""
    for change in (
        annotations(ALLOWED),
        annotations("arn:aws:iam::444455556666:role/iam4kube/shop/x", "id"),
        annotations(),
    ):
        for account in ("plain", "older"):
            assert refused(installed, account, change, token=tenants.assigner) == ""


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::999999999999:role/iam4kube/shop/orders",
        "arn:aws:iam::111122223333:role/orders",
        "arn:aws:iam::111122223333:role/iam4kube/finance/orders",
        "arn:aws:iam::111122223333:role/iam4kube/shop/../finance/orders",
        "arn:aws:iam::111122223333:role/iam4kube/shop/",
        f"x{ALLOWED}",
        f"{ALLOWED} ",
    ],
)
def test_no_role_beside_the_namespaces_own_is_assigned(installed: InstalledCluster, tenants: Tenants, arn: str) -> None:
    """Of another account, path or namespace; by anybody, the administrator too."""
    assert "is not a role for the namespace shop" in refused(
        installed, "plain", annotations(arn), token=tenants.assigner
    )
    with pytest.raises(Refused, match="is not a role for the namespace shop"):
        installed.patch(f"{ACCOUNTS}/plain?dryRun=All", annotations(arn))
