"""Where connections go, by what the watches have said so far."""

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from iam4kube.kube.objects import Address, Service
from iam4kube.sandbox.kubernetes.networking import endpoint
from ip2service.backends import Backends
from ip2service.backends_view import BackendsView, FamilyBackends
from ip2service.layout import Endpoint, Family, Layout, Mode
from ip2service.problems import ProblemKind, ServiceReference
from ip2service.selection import Place
from tests.support.kube_networking import a_service, a_slice

REFERENCE = ServiceReference(namespace="iam4kube", name="iam4kube")
HERE = Place(node="node-a", zone="eu-central-1a", addresses=frozenset([Address("10.0.0.1")]))


class Watched:
    """Backends that are fed by hand, and how often they told of a change."""

    def __init__(self, layout: Layout | None = None, *, place: Place | None = HERE) -> None:
        self.changes = 0
        self.backends = Backends(REFERENCE, layout or Layout(), node="node-a", changed=self._changed)
        if place is not None:
            self.backends.place_changed(place)

    def _changed(self) -> None:
        self.changes += 1

    def sync(self) -> None:
        """Both first lists are complete."""
        self.backends.services.synced()
        self.backends.slices.synced()

    @property
    def view(self) -> BackendsView:
        return self.backends.view()

    @property
    def ipv4(self) -> FamilyBackends:
        return self.view.families[Family.IPV4]


def watched(
    service: Service | None, *endpoints: dict[str, Any], layout: Layout | None = None, place: Place | None = HERE
) -> Watched:
    """Synced, with a Service and one slice."""
    found = Watched(layout, place=place)
    if service is not None:
        found.backends.services.changed(None, service)
    found.backends.slices.changed(None, a_slice(*endpoints))
    found.sync()
    return found


def kinds(found: Watched) -> list[ProblemKind]:
    """The problems of the families."""
    return [problem.kind for problem in found.view.problems]


def test_a_service_and_its_endpoints() -> None:
    """The cluster IP, the gate, who is used, and whose connections are left alone."""
    found = watched(a_service(), endpoint("10.1.0.1"), endpoint("10.1.0.2", ready=False)).ipv4
    assert (found.problem, found.cluster_ip, found.gate) == (None, "10.96.0.50", True)
    assert found.endpoints == (Endpoint(Address("10.1.0.1"), 8080),)
    assert found.addresses_in_slices == {"10.1.0.1", "10.1.0.2"}


def test_nothing_is_known_before_both_watches_are_synced() -> None:
    """Half of the truth could close the gate that an earlier process left open."""
    found = Watched()
    found.backends.services.changed(None, a_service())
    found.backends.services.synced()
    assert (found.view, found.changes) == (BackendsView(), 0)
    found.backends.slices.changed(None, a_slice(endpoint("10.1.0.1")))
    assert not found.view.synced
    found.backends.slices.synced()
    assert found.view.synced
    assert (found.ipv4.gate, found.changes) == (True, 1)


def test_the_gate_is_closed_with_nobody_ready_r19() -> None:
    """The cluster IP stays, for connections that are under way; new ones find nobody."""
    found = watched(a_service()).ipv4
    assert (found.problem, found.cluster_ip, found.gate, found.endpoints) == (None, "10.96.0.50", False, ())


def test_the_gate_stays_open_for_who_serves_while_terminating() -> None:
    """A rolling upgrade of a single replica."""
    going = endpoint("10.1.0.1", ready=False, serving=True, terminating=True)
    assert watched(a_service(), going).ipv4.gate


def test_a_deleted_slice_takes_its_endpoints_with_it_r22() -> None:
    """The last known ones do not stay, neither to be used nor to be left alone."""
    found = watched(a_service(), endpoint("10.1.0.1"))
    found.backends.slices.changed(a_slice(endpoint("10.1.0.1")), None)
    assert (found.ipv4.gate, found.ipv4.endpoints, found.ipv4.addresses_in_slices) == (False, (), frozenset())


def test_a_deleted_service_is_a_problem() -> None:
    """Its slices outlive it by a moment; nothing is routed all the same."""
    found = watched(a_service(), endpoint("10.1.0.1"))
    found.backends.services.changed(a_service(), None)
    assert found.ipv4.problem is not None
    assert (found.ipv4.cluster_ip, found.ipv4.gate, found.ipv4.endpoints) == (None, False, ())
    assert kinds(found) == [ProblemKind.SERVICE_MISSING]
    assert found.view.broken == found.ipv4.problem


def test_a_service_made_anew_has_another_address() -> None:
    """Deleted and created again while its slices stay."""
    found = watched(a_service(), endpoint("10.1.0.1"))
    found.backends.services.changed(a_service(), None)
    found.backends.services.changed(None, a_service(uid="uid-2", cluster_ips=["10.96.0.99"]))
    assert (found.ipv4.cluster_ip, found.ipv4.gate) == ("10.96.0.99", True)
    assert found.changes == 3


def test_what_changes_nothing_is_not_told() -> None:
    """Slices are written for reasons that do not matter here."""
    found = watched(a_service(), endpoint("10.1.0.1"))
    found.backends.slices.changed(a_slice(endpoint("10.1.0.1")), a_slice(endpoint("10.1.0.1"), version="2"))
    assert found.changes == 1


EXTERNAL = {"type": "ExternalName", "clusterIP": "", "clusterIPs": None, "ports": None}
OVER_UDP = {"ports": [{"name": "router", "port": 8169, "protocol": "UDP"}]}


@pytest.mark.parametrize(
    ("service", "kind", "says"),
    [
        (None, ProblemKind.SERVICE_MISSING, "Service iam4kube/iam4kube does not exist"),
        (a_service(spec=EXTERNAL), ProblemKind.EXTERNAL_NAME, "ExternalName"),
        (a_service(cluster_ips=["None"]), ProblemKind.HEADLESS, "--mode=endpoints"),
        (a_service(ports={"http": 80}), ProblemKind.PORT_MISSING, "no port named 'router', only 'http'"),
        (a_service(ports={}), ProblemKind.PORT_MISSING, "only none at all"),
        (a_service(spec=OVER_UDP), ProblemKind.PORT_NOT_TCP, "has protocol UDP"),
        (a_service(ports={"router": 8170}), ProblemKind.PORT_DIFFERS, "is 8170, and --router-port is 8169"),
        (a_service(spec={"clusterIPs": None, "clusterIP": ""}), ProblemKind.NO_CLUSTER_IP, "no IPv4 cluster IP"),
    ],
)
def test_each_problem_has_its_own_sentence(service: Service | None, kind: ProblemKind, says: str) -> None:
    """It names what is wrong, nothing is routed, and when it is mended all is well."""
    found = watched(service, endpoint("10.1.0.1"))
    broken = found.view.broken
    assert broken is not None
    assert (broken.kind, found.ipv4.cluster_ip, found.ipv4.gate) == (kind, None, False)
    assert says in broken.text
    found.backends.services.changed(service, a_service(version="2"))
    assert (found.ipv4.problem, found.view.broken, found.ipv4.gate) == (None, None, True)


def test_in_endpoints_mode_the_cluster_ip_does_not_matter() -> None:
    """Nor the number of the Service's port: nothing is sent there."""
    headless = a_service(cluster_ips=["None"], ports={"router": 80})
    found = watched(headless, endpoint("10.1.0.1"), layout=Layout(mode=Mode.ENDPOINTS))
    assert (found.view.problems, found.ipv4.cluster_ip, found.ipv4.gate) == ((), None, True)


def test_each_family_for_itself() -> None:
    """A dual-stack Service has an address and slices of each; one may have somebody ready and the other not."""
    found = watched(a_service(cluster_ips=["10.96.0.50", "fd00:96::50"]), endpoint("10.1.0.1"))
    ipv6 = found.view.families[Family.IPV6]
    assert (ipv6.cluster_ip, ipv6.gate) == ("fd00:96::50", False)
    found.backends.slices.changed(None, a_slice(endpoint("fd00::1"), name="b", address_type="IPv6"))
    ipv6 = found.view.families[Family.IPV6]
    assert (ipv6.gate, ipv6.endpoints) == (True, (Endpoint(Address("fd00::1"), 8080),))
    assert found.ipv4.endpoints == (Endpoint(Address("10.1.0.1"), 8080),)
    assert found.ipv4.addresses_in_slices == {"10.1.0.1"}
    assert ipv6.addresses_in_slices == {"fd00::1"}


@pytest.mark.parametrize("mode", Mode)
def test_one_family_without_an_address_is_not_all_broken(mode: Mode) -> None:
    """Most clusters have IPv4 only: the other family's address is refused, and that is said; nobody waits for it."""
    found = watched(a_service(), endpoint("10.1.0.1"), layout=Layout(mode=mode))
    assert kinds(found) == [ProblemKind.NO_CLUSTER_IP]
    assert found.view.broken is None
    assert "fd00:ec2::254 is refused to pods" in found.view.problems[0].text


def test_a_family_that_is_not_intercepted_is_not_looked_at() -> None:
    """Neither its address nor its slices."""
    found = watched(a_service(), layout=Layout(intercepted={Family.IPV4: Address("169.254.169.254")}))
    assert (set(found.view.families), found.view.problems) == ({Family.IPV4}, ())


def test_what_works_badly_is_a_warning() -> None:
    """Nodes without a server get nothing with a Local policy; affinity keeps pods at a server in trouble."""
    spec = {"internalTrafficPolicy": "Local", "sessionAffinity": "ClientIP"}
    found = watched(a_service(spec=spec), endpoint("10.1.0.1", node="node-b"))
    assert [warning.kind for warning in found.view.warnings] == [ProblemKind.LOCAL_ONLY, ProblemKind.SESSION_AFFINITY]
    assert (found.view.broken, found.ipv4.gate) == (None, False)


@pytest.mark.parametrize(
    ("changes", "is_exempt"),
    [
        ({}, True),
        ({"ready": False}, True),
        ({"terminating": True}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
        ({"node": "node-b"}, False),
        ({"node": ""}, False),
    ],
)
def test_servers_on_this_node_are_exempt_r24(changes: dict[str, Any], is_exempt: bool) -> None:
    """Ready or not, since they need credentials to become ready; never one that leaves its address to another."""
    found = watched(a_service(), endpoint("10.1.0.1", **changes))
    assert found.ipv4.exempt == frozenset({"10.1.0.1"} if is_exempt else ())


def test_only_pods_are_exempt() -> None:
    """An endpoint that somebody wrote by hand may be anything."""
    nothing = {**endpoint("10.1.0.1"), "targetRef": None}
    machine = {**endpoint("10.1.0.2"), "targetRef": {"kind": "Machine", "name": "x"}}
    assert watched(a_service(), nothing, machine).ipv4.exempt == frozenset()


def test_the_nodes_own_addresses_are_never_exempt() -> None:
    """Masqueraded traffic of every pod comes from there. Until they are known, nobody knows who is exempt."""
    found = watched(a_service(), endpoint("10.0.0.1"), endpoint("10.1.0.1"), place=None)
    assert found.ipv4.exempt is None
    found.backends.place_changed(HERE)
    assert found.ipv4.exempt == frozenset({"10.1.0.1"})


def test_who_terminates_in_one_slice_is_not_exempt_by_another() -> None:
    """The stale one of two slices must not keep the most powerful role at an address."""
    found = watched(a_service(), endpoint("10.1.0.1"))
    found.backends.slices.changed(None, a_slice(endpoint("10.1.0.1", terminating=True), name="b"))
    assert found.ipv4.exempt == frozenset()


def test_servers_stay_exempt_without_a_service() -> None:
    """They must not lose their credentials because somebody deletes the Service for a moment."""
    assert watched(None, endpoint("10.1.0.1")).ipv4.exempt == frozenset({"10.1.0.1"})


def test_a_node_that_moves_zones_uses_others() -> None:
    """The zone comes from the Node, which may be read later or change."""
    found = watched(
        a_service(), endpoint("10.1.0.1", zone="a"), endpoint("10.1.0.2", zone="b"), place=Place(node="node-a")
    )
    assert len(found.ipv4.endpoints) == 2
    found.backends.place_changed(Place(node="node-a", zone="b", addresses=frozenset()))
    assert [each.address for each in found.ipv4.endpoints] == ["10.1.0.2"]


def test_only_the_service_and_its_slices_are_watched() -> None:
    """The permissions are for one namespace."""
    backends = Watched().backends
    assert backends.service_selection.query() == {"fieldSelector": "metadata.name=iam4kube"}
    assert backends.slice_selection.query() == {"labelSelector": "kubernetes.io/service-name=iam4kube"}
    assert backends.service_selection.namespace == backends.slice_selection.namespace == "iam4kube"


def messages(caplog: pytest.LogCaptureFixture, *, level: int = logging.INFO) -> Sequence[str]:
    """What was logged since last asked."""
    found = [record.message for record in caplog.records if record.levelno >= level]
    caplog.clear()
    return found


def test_each_change_is_one_clear_line(caplog: pytest.LogCaptureFixture) -> None:
    """A problem, its end, a new address, a closed gate: once each, not per family, and not again."""
    caplog.set_level(logging.INFO)
    found = watched(None, endpoint("10.1.0.1"))
    assert messages(caplog) == ["Service cannot be routed to"]
    found.backends.services.changed(None, a_service())
    assert messages(caplog) == [
        "Service is routed to for one family only",
        "Service's problem is over",
        "Service has this address",
        "New connections are let in: a server is ready",
    ]
    found.backends.slices.changed(a_slice(endpoint("10.1.0.1")), a_slice(endpoint("10.1.0.2"), version="2"))
    assert messages(caplog) == []
    found.backends.slices.changed(a_slice(endpoint("10.1.0.2")), None)
    assert messages(caplog) == ["New connections are refused: no server is ready"]
    found.backends.services.changed(a_service(), a_service(spec={"sessionAffinity": "ClientIP"}))
    assert messages(caplog, level=logging.WARNING) == ["Service is not as it should be"]
