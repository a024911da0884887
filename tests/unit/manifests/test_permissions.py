"""What the manifests grant is what the programs need, and nothing else."""

from collections.abc import Sequence

import pytest

from iam4kube.kube.permissions import (
    ROUTER_PERMISSIONS,
    SERVER_PERMISSIONS,
    STARTUP_TAINT_PERMISSION,
    TOKEN_KEY_PERMISSION,
    Permission,
    Scope,
)
from tests.support.manifests import BASE, EVERYTHING, OVERLAYS, Manifest, pod_templates, rendered

pytestmark = pytest.mark.cluster

_NAMESPACES = {Scope.CLUSTER: None, Scope.SERVICE_NAMESPACE: "iam4kube", Scope.DEFAULT_NAMESPACE: "default"}
Grant = tuple[str | None, str, str, tuple[str, ...], tuple[str, ...]]
"""Namespace (None: everywhere), group, resource, names, verbs."""


def grants_of(manifests: Sequence[Manifest], account: tuple[str, str]) -> list[Grant]:
    """What is granted to one ServiceAccount, by namespace and name."""
    roles = {_key(each): each["rules"] for each in manifests if each["kind"] in ("ClusterRole", "Role")}
    return [
        grant
        for each in manifests
        if each["kind"] in ("ClusterRoleBinding", "RoleBinding")
        and account in [(subject["namespace"], subject["name"]) for subject in each["subjects"]]
        for rule in roles[each["roleRef"]["kind"], each["metadata"].get("namespace"), each["roleRef"]["name"]]
        for grant in _grants(rule, each["metadata"].get("namespace"))
    ]


def _key(role: Manifest) -> tuple[str, str | None, str]:
    return role["kind"], role["metadata"].get("namespace"), role["metadata"]["name"]


def _grants(rule: Manifest, namespace: str | None) -> list[Grant]:
    assert rule.keys() <= {"apiGroups", "resources", "resourceNames", "verbs"}
    return [
        (namespace, group, resource, tuple(rule.get("resourceNames", ())), tuple(rule["verbs"]))
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    ]


def needed(*permissions: Permission) -> list[Grant]:
    """The same of what a program needs."""
    return [(_NAMESPACES[each.scope], each.group, each.resource, each.names, each.verbs) for each in permissions]


@pytest.mark.parametrize("folder", [BASE, *OVERLAYS, EVERYTHING])
def test_each_program_is_granted_what_it_needs(folder: str) -> None:
    """Nothing more: whoever takes a program has its rights. Nothing less: it would never become ready."""
    manifests = rendered(folder)
    more = [STARTUP_TAINT_PERMISSION] if folder in ("overlays/startup-taint", EVERYTHING) else []
    assert sorted(grants_of(manifests, ("iam4kube", "iam4kube"))) == sorted(needed(*SERVER_PERMISSIONS))
    assert grants_of(manifests, ("iam4kube", "iam4kube-token-keys")) == needed(TOKEN_KEY_PERMISSION)
    assert sorted(grants_of(manifests, ("ip2service", "ip2service")), key=str) == sorted(
        needed(*ROUTER_PERMISSIONS, *more), key=str
    )


@pytest.mark.parametrize("folder", [BASE, EVERYTHING])
def test_nothing_is_granted_to_anybody_else(folder: str) -> None:
    """No group, no user, no ServiceAccount of other namespaces; every role is bound."""
    manifests = rendered(folder)
    bindings = [each for each in manifests if each["kind"].endswith("RoleBinding")]
    subjects = {
        (subject["kind"], subject["namespace"], subject["name"]) for each in bindings for subject in each["subjects"]
    }
    assert subjects == {
        ("ServiceAccount", "iam4kube", "iam4kube"),
        ("ServiceAccount", "iam4kube", "iam4kube-token-keys"),
        ("ServiceAccount", "ip2service", "ip2service"),
    }
    roles = {_key(each) for each in manifests if each["kind"] in ("ClusterRole", "Role")}
    bound = {(each["roleRef"]["kind"], each["metadata"].get("namespace"), each["roleRef"]["name"]) for each in bindings}
    assert bound == roles


def test_every_pod_has_a_service_account_of_its_own_that_exists(base: list[Manifest]) -> None:
    """And a token only because it asks for one: pods that somebody else creates with it get none."""
    accounts = {
        (each["metadata"]["namespace"], each["metadata"]["name"]): each["automountServiceAccountToken"]
        for each in base
        if each["kind"] == "ServiceAccount"
    }
    used = [(namespace, template["spec"]["serviceAccountName"]) for namespace, template in pod_templates(base)]
    assert sorted(used) == sorted(accounts)
    assert not any(accounts.values())
    assert all(template["spec"]["automountServiceAccountToken"] for _, template in pod_templates(base))
