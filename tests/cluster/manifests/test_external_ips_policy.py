"""The admission policy for Services: none gets new externalIPs, and everything else goes on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.installed_cluster import InstalledCluster, Refused
from tests.support.manifests import find, rendered

pytestmark = pytest.mark.cluster

FOLDER, POLICY = "policies/external-ips", "iam4kube-external-ips"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/web"
PART = "system:aggregate-to-{}"
"""What a stock role consists of: here no controller is there to put it together."""
SERVICES = "/api/v1/namespaces/web/services"
NONE_NEW = "403: .*Services may get no new externalIPs"
OLD, OTHER, NEW, OWN = "198.51.100.1", "198.51.100.2", "198.51.100.3", "192.0.2.10"


@dataclass(frozen=True)
class Tenant:
    """One with the stock role `edit` in the namespace `web`, and nothing else."""

    cluster: InstalledCluster
    token: str

    def make(self, **spec: Any) -> dict[str, Any]:
        """A Service with this in its specification, as the API server would keep it. Raises `Refused`."""
        made: dict[str, Any] = self.cluster.ask("POST", f"{SERVICES}?dryRun=All", service(**spec), token=self.token)
        return made

    def change(self, name: str, *addresses: str, **spec: Any) -> None:
        """Let a Service have these externalIPs. Raises `Refused`. Nothing is kept."""
        changes = {"spec": {"externalIPs": list(addresses) or None, **spec}}
        self.cluster.patch(f"{SERVICES}/{name}?dryRun=All", changes, token=self.token)

    def makes(self, *addresses: str) -> bool:
        """Whether a Service with them is let through."""
        try:
            self.make(externalIPs=addresses)
        except Refused:
            return False
        return True


@pytest.fixture(scope="module")
def tenant(installed: InstalledCluster) -> Iterator[Tenant]:
    """Whose Services `old` and `plain` are there, one with externalIPs. The policy is in force, and gone afterwards."""
    installed.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "web"}})
    installed.ask("POST", "/api/v1/namespaces/web/serviceaccounts", {"metadata": {"name": "tenant"}})
    binding = {
        "metadata": {"name": "tenant"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": PART.format("edit")},
        "subjects": [{"kind": "ServiceAccount", "namespace": "web", "name": "tenant"}],
    }
    installed.ask("POST", f"{RBAC}/rolebindings", binding)
    tenant = Tenant(installed, installed.control_plane.token("web", "tenant", lifetime=600))
    installed.until(tenant.makes)
    assert tenant.makes(NEW), "without the policy the API server takes it"
    for name, spec in {"old": {"externalIPs": [OLD, OTHER]}, "plain": {}}.items():
        installed.ask("POST", SERVICES, service(name, **spec), token=tenant.token)
    installed.install(FOLDER)
    installed.until(lambda: not tenant.makes(NEW))
    yield tenant
    installed.kubectl("delete", "validatingadmissionpolicybinding", POLICY)
    installed.until(lambda: tenant.makes(NEW))


def service(name: str = "new", **spec: Any) -> dict[str, Any]:
    """A Service with one port."""
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 8169}], **spec}}


def server_address(tenant: Tenant) -> str:
    """The cluster IP of the servers' Service."""
    path = "/api/v1/namespaces/iam4kube/services/iam4kube"
    address: str = tenant.cluster.ask("GET", path)["spec"]["clusterIP"]
    return address


def test_the_servers_cluster_ip_is_refused_to_a_tenant(tenant: Tenant) -> None:
    """And the other addresses by which a tenant could answer metadata requests. The message says what to do."""
    for address in (server_address(tenant), "10.0.0.7", "fd00:ec2::254"):
        with pytest.raises(Refused, match=f"{NONE_NEW}.*CVE-2020-8554.*LoadBalancer"):
            tenant.make(externalIPs=[address])


def test_they_are_refused_to_everybody(tenant: Tenant) -> None:
    """The administrator too, in every namespace."""
    for namespace in ("default", "kube-system", "iam4kube"):
        with pytest.raises(Refused, match=NONE_NEW):
            tenant.cluster.ask(
                "POST", f"/api/v1/namespaces/{namespace}/services?dryRun=All", service(externalIPs=[NEW])
            )


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"externalIPs": []},
        {"type": "NodePort"},
        {"type": "LoadBalancer", "loadBalancerIP": NEW},
        {"type": "ExternalName", "externalName": "db.example.com", "ports": None},
    ],
)
def test_services_without_them_are_made(tenant: Tenant, spec: dict[str, Any]) -> None:
    """Of every type."""
    assert "externalIPs" not in tenant.make(**spec)["spec"]


def test_a_service_that_is_there_gets_none(tenant: Tenant) -> None:
    """Neither its first nor one more, and none in the place of another."""
    for name, addresses in {"plain": [NEW], "old": [OLD, OTHER, NEW]}.items():
        with pytest.raises(Refused, match=NONE_NEW):
            tenant.change(name, *addresses)
    with pytest.raises(Refused, match=NONE_NEW):
        tenant.change("old", OLD, NEW)


@pytest.mark.parametrize("kept", [(OLD, OTHER), (OTHER, OLD), (OTHER,), ()])
def test_a_service_that_has_them_is_changed_and_rid_of_them(tenant: Tenant, kept: tuple[str, ...]) -> None:
    """All at once, or one by one."""
    tenant.change("old", *kept, ports=[{"port": 8080}])


def test_addresses_that_the_policy_allows_are_let_through(tenant: Tenant) -> None:
    """As its comment says; and no others."""
    cluster, path = tenant.cluster, f"{POLICIES}/{POLICY}"
    [allowed] = find(rendered(FOLDER), "ValidatingAdmissionPolicy", POLICY)["spec"]["variables"]
    cluster.patch(path, {"spec": {"variables": [{**allowed, "expression": f'["{OWN}", "2001:db8::10"]'}]}})
    try:
        cluster.until(lambda: tenant.makes(OWN, "2001:db8::10"))
        assert not tenant.makes(OWN, NEW)
        tenant.change("plain", OWN)
    finally:
        cluster.patch(path, {"spec": {"variables": [allowed]}})
        cluster.until(lambda: not tenant.makes(OWN))


def test_the_address_of_a_load_balancer_is_not_a_tenants_to_write(tenant: Tenant) -> None:
    """kube-proxy leads it to the Service as well, so the policy leaves out a right that no role for tenants has."""
    status = {"loadBalancer": {"ingress": [{"ip": server_address(tenant)}]}}
    made = tenant.cluster.ask(
        "POST", f"{SERVICES}?dryRun=All", {**service(type="LoadBalancer"), "status": status}, token=tenant.token
    )
    assert made["status"] == {"loadBalancer": {}}
    with pytest.raises(Refused, match="services/status"):
        tenant.cluster.patch(f"{SERVICES}/plain/status", {"status": status}, token=tenant.token)
    for role in ("admin", "edit", "view"):
        found = tenant.cluster.ask("GET", f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{PART.format(role)}")
        rules = [rule for rule in found["rules"] if {"services/status", "services/*", "*"} & set(rule["resources"])]
        assert {verb for rule in rules for verb in rule["verbs"]} <= {"get", "list", "watch"}
