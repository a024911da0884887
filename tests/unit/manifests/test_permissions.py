"""What the manifests grant is what the programs need, and nothing else."""

import pytest

from iam4kube.kube.permissions import (
    ROUTER_PERMISSIONS,
    SERVER_PERMISSIONS,
    STARTUP_TAINT_PERMISSION,
    TOKEN_KEY_PERMISSION,
    Permission,
    Scope,
)
from tests.support.manifest_permissions import Grant, grants_of, role_key
from tests.support.manifests import BASE, EVERYTHING, OVERLAYS, Manifest, pod_templates, rendered

pytestmark = pytest.mark.cluster

_NAMESPACES = {Scope.CLUSTER: "", Scope.SERVICE_NAMESPACE: "iam4kube", Scope.DEFAULT_NAMESPACE: "default"}


def needed(*permissions: Permission) -> list[Grant]:
    """What a program needs, in the same words."""
    return sorted(
        Grant(_NAMESPACES[each.scope], each.group, each.resource, each.names, verb)
        for each in permissions
        for verb in each.verbs
    )


@pytest.mark.parametrize("folder", [BASE, *OVERLAYS, EVERYTHING])
def test_each_program_is_granted_what_it_needs(folder: str) -> None:
    """Nothing more: whoever takes a program has its rights. Nothing less: it would never become ready."""
    manifests = rendered(folder)
    more = [STARTUP_TAINT_PERMISSION] if folder in ("overlays/startup-taint", EVERYTHING) else []
    assert sorted(grants_of(manifests, "iam4kube:iam4kube")) == needed(*SERVER_PERMISSIONS)
    assert sorted(grants_of(manifests, "iam4kube:iam4kube-token-keys")) == needed(TOKEN_KEY_PERMISSION)
    assert sorted(grants_of(manifests, "ip2service:ip2service")) == needed(*ROUTER_PERMISSIONS, *more)


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
    roles = {role_key(each) for each in manifests if each["kind"] in ("ClusterRole", "Role")}
    bound = {(each["roleRef"]["kind"], *role_key(each)[1:]) for each in bindings}
    assert all(each["roleRef"]["name"] == each["metadata"]["name"] for each in bindings)
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
