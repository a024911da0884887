"""What the router's metrics show of what happened."""

import pytest
from prometheus_client import CollectorRegistry

from iam4kube.kube.objects import Address
from ip2service.backends_view import BackendsView, FamilyBackends
from ip2service.differences import Drift
from ip2service.kernel_metrics import MeasuredTables
from ip2service.kernel_protocols import KernelError, Snapshot
from ip2service.layout import Contents, Endpoint, Family, Route
from ip2service.metrics import RouterMetrics
from ip2service.problems import Problem, ProblemKind
from ip2service.ruleset import GUARD_TABLE, ROUTING_TABLE
from tests.support.router_kernel import KernelInMemory, Table

SERVER = Endpoint(Address("10.0.0.1"), 8080)


def found(**packets: int) -> Snapshot:
    """A kernel whose chains have counted these packets."""
    table = Table(comment="", structure="", packets=packets)
    return Snapshot(tables={GUARD_TABLE: table, ROUTING_TABLE: table}, policy=frozenset())


def test_packets_are_those_that_the_kernel_has_counted() -> None:
    """Absolute values, as of the last verification; 0 before it."""
    registry = CollectorRegistry()
    metrics = RouterMetrics(registry)
    assert registry.get_sample_value("ip2service_opening_packets_total") == 0
    metrics.verified(found(there=7, back=9, unserved=1, prerouting=3, forward=2), ())
    assert registry.get_sample_value("ip2service_opening_packets_total") == 7
    assert registry.get_sample_value("ip2service_reply_packets_total") == 8
    for by, count in (("guard_prerouting", 3), ("guard_forward", 2), ("unserved", 1)):
        assert registry.get_sample_value("ip2service_refused_packets_total", {"by": by}) == count
    metrics.verified(Snapshot(tables={}, policy=frozenset()), ())
    assert registry.get_sample_value("ip2service_opening_packets_total") == 0


def test_resets_of_our_own_are_no_replies() -> None:
    """They pass the same chain: without a proxy an alert on missing replies would never come."""
    registry = CollectorRegistry()
    metrics = RouterMetrics(registry)

    def replies(**packets: int) -> float | None:
        metrics.verified(found(**packets), ())
        return registry.get_sample_value("ip2service_reply_packets_total")

    assert replies(there=10, back=10, unserved=10) == 0
    assert replies(there=20, back=25, unserved=15) == 10
    # Resets that nobody is sent, and counts that are read one after the other: no counter goes back.
    assert replies(there=30, back=25, unserved=25) == 10
    assert replies(there=40, back=40, unserved=25) == 15
    assert replies(there=1, back=3, unserved=1) == 2, "the table was made anew"


def test_drifts_are_counted_by_kind() -> None:
    """And verifications with and without them."""
    registry = CollectorRegistry()
    metrics = RouterMetrics(registry)
    metrics.verified(found(), (Drift("table", "x", ""), Drift("policy", "ip rule", ""), Drift("table", "y", "")))
    metrics.verified(found(), ())
    assert registry.get_sample_value("ip2service_drift_repaired_total", {"what": "table"}) == 2
    assert registry.get_sample_value("ip2service_drift_repaired_total", {"what": "policy"}) == 1
    assert registry.get_sample_value("ip2service_verifications_total") == 2


def test_endpoints_and_problems_follow_the_view() -> None:
    """A problem that is over is 0 again."""
    registry = CollectorRegistry()
    metrics = RouterMetrics(registry)
    problem = Problem(ProblemKind.HEADLESS, "headless")
    metrics.seen(BackendsView(synced=True, families={Family.IPV4: FamilyBackends(problem=problem)}))
    assert registry.get_sample_value("ip2service_service_problem", {"reason": "headless"}) == 1
    view = BackendsView(synced=True, families={Family.IPV4: FamilyBackends(gate=True, endpoints=(SERVER,))})
    metrics.seen(view)
    assert registry.get_sample_value("ip2service_service_problem", {"reason": "headless"}) == 0
    assert registry.get_sample_value("ip2service_endpoints", {"family": "IPv4"}) == 1


def test_gates_and_exempt_pods_are_what_the_kernel_holds() -> None:
    """Not what was asked of it; exempt pods of whom nobody knows are as they were."""
    registry = CollectorRegistry()
    metrics = RouterMetrics(registry)
    route = Route(frontend=Address("10.96.0.50"), gate=True, exempt=frozenset({Address("10.0.0.1")}))
    metrics.applied(Contents(routes={Family.IPV4: route}), seconds=0.002)
    assert registry.get_sample_value("ip2service_gate_open", {"family": "IPv4"}) == 1
    assert registry.get_sample_value("ip2service_exempt_pods") == 1
    assert registry.get_sample_value("ip2service_propagation_seconds_count") == 1
    metrics.applied(Contents(routes={Family.IPV4: Route(exempt=None)}), seconds=0.002)
    assert registry.get_sample_value("ip2service_gate_open", {"family": "IPv4"}) == 0
    assert registry.get_sample_value("ip2service_exempt_pods") == 1


async def test_calls_to_the_kernel_are_counted_and_their_failures_too() -> None:
    """By call; the failure goes on to whoever asked."""
    registry = CollectorRegistry()
    kernel = KernelInMemory()
    tables = MeasuredTables(kernel, RouterMetrics(registry))
    assert await tables.read(GUARD_TABLE) is None
    kernel.refusal = "Operation not permitted"
    with pytest.raises(KernelError, match="Operation not permitted"):
        await tables.apply("add table inet x")
    for call, failures in (("read", None), ("apply", 1)):
        assert registry.get_sample_value("ip2service_kernel_call_seconds_count", {"call": call}) == 1
        assert registry.get_sample_value("ip2service_kernel_call_failures_total", {"call": call}) == failures
