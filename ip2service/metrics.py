"""All metrics of the router. No label by address, pod or node: a label's values are few, and chosen here.

Packets are counted by the kernel's rules. They are read with each verification, so they are as old as that; a table
that was made anew counts from zero again, which Prometheus takes for a restart, rightly.
"""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from ip2service.backends_view import BackendsView
from ip2service.differences import Drift
from ip2service.kernel_protocols import Snapshot
from ip2service.layout import Contents, Family
from ip2service.packets import Packets, opening_packets, reply_packets
from ip2service.problems import ProblemKind
from ip2service.ruleset import GUARD_TABLE, ROUTING_TABLE

PROGRAM: Final = "ip2service"

# A transaction takes 0.2 ms, and reading a table 0.9 ms, of which the event loop's clock counts whole milliseconds;
# a program that writes a whole cluster's Services makes both wait.
_KERNEL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_REFUSING_CHAINS = {
    "guard_prerouting": (GUARD_TABLE, "prerouting"),
    "guard_forward": (GUARD_TABLE, "forward"),
    "unserved": (ROUTING_TABLE, "unserved"),
}


class RouterMetrics:
    """Owns the router's metrics; hears what the reconciler does."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._drifts = self._counter("drift_repaired", "Things of ours that somebody else had changed.", ["what"])
        self._verifications = self._counter(
            "verifications", "Comparisons of the kernel's rules with what they are to be."
        )
        self._failures = self._counter("reconciliation_failures", "Changes, comparisons or repairs that failed.")
        self._forgotten = self._counter("forgotten_connections", "Connections to endpoints that are gone, cut.")
        self._propagation = self._histogram("propagation_seconds", "From the change heard to the change in the kernel.")
        self.kernel_seconds = self._histogram("kernel_call_seconds", "Duration of calls to the kernel.", ["call"])
        self.kernel_failures = self._counter("kernel_call_failures", "Calls to the kernel that failed.", ["call"])
        self._gate = self._gauge("gate_open", "1 while new connections of a family are let in.", ["family"])
        self._endpoints = self._gauge("endpoints", "Endpoints that new connections from this node go to.", ["family"])
        self._exempt = self._gauge("exempt_pods", "Addresses of server pods that reach the real service.")
        self._problem = self._gauge("service_problem", "1 while the Service has this problem.", ["reason"])
        self._bypass = self._gauge(
            "bypass_suspected", "1 while the network plugin seems to lead packets past the rules."
        )
        self._packets = _Packets()
        registry.register(self._packets)

    def observe(self, *, verification_age: Callable[[], float], ready: Callable[[], bool]) -> None:
        """Show what is asked for at each scrape. The age is in seconds, infinite before the first verification."""
        self._gauge("verification_age_seconds", "Since the rules were last found, or made, right.").set_function(
            verification_age
        )
        self._gauge("ready", "1 while the router is ready.").set_function(ready)

    def applied(self, contents: Contents, *, seconds: float) -> None:
        """The kernel holds this now, so long after it was asked for."""
        self._propagation.observe(seconds)
        for family, route in contents.routes.items():
            self._gate.labels(_name(family)).set(route.gate)
        exempt = [route.exempt for route in contents.routes.values()]
        if None not in exempt:  # else they are as they were
            self._exempt.set(sum(len(addresses or ()) for addresses in exempt))

    def verified(self, found: Snapshot, drifts: tuple[Drift, ...]) -> None:
        """The kernel was read, and what differed has been repaired."""
        self._verifications.inc()
        self._packets.see(found)
        for drift in drifts:
            self._drifts.labels(drift.what).inc()

    def forgot(self, connections: int) -> None:
        """So many connections were forgotten."""
        self._forgotten.inc(connections)

    def failed(self, _problem: str) -> None:
        """The kernel refused something."""
        self._failures.inc()

    def seen(self, view: BackendsView) -> None:
        """Hear what is known of the Service now."""
        for family, backends in view.families.items():
            self._endpoints.labels(_name(family)).set(len(backends.endpoints))
        present = {problem.kind for problem in (*view.problems, *view.warnings)}
        for kind in ProblemKind:
            self._problem.labels(kind).set(kind in present)

    def bypass_suspected(self, suspected: bool) -> None:
        """Hear whether there are signs of a bypass now."""
        self._bypass.set(suspected)

    def _counter(self, name: str, help_text: str, labels: tuple[str, ...] | list[str] = ()) -> Counter:
        return Counter(f"{PROGRAM}_{name}_total", help_text, labels, registry=self._registry)

    def _gauge(self, name: str, help_text: str, labels: tuple[str, ...] | list[str] = ()) -> Gauge:
        return Gauge(f"{PROGRAM}_{name}", help_text, labels, registry=self._registry)

    def _histogram(self, name: str, help_text: str, labels: tuple[str, ...] | list[str] = ()) -> Histogram:
        return Histogram(f"{PROGRAM}_{name}", help_text, labels, registry=self._registry, buckets=_KERNEL_SECONDS)


class _Packets(Collector):
    """The kernel's packet counters as of the last verification."""

    def __init__(self) -> None:
        self._found = Snapshot(tables={}, policy=frozenset())
        self._routed: Packets = {}
        self._replies = 0

    def see(self, found: Snapshot) -> None:
        """Take in what the kernel has counted.

        Replies are a difference of two counts that are not read in one moment. A counter never goes back, or Prometheus
        takes it for a restart: then the difference waits for the truth to come up to it.
        """
        table = found.tables.get(ROUTING_TABLE)
        routed: Packets = {} if table is None else table.packets
        is_anew = any(routed.get(chain, 0) < count for chain, count in self._routed.items())
        self._replies = max(0 if is_anew else self._replies, reply_packets(routed))
        self._found, self._routed = found, routed

    def collect(self) -> Iterator[CounterMetricFamily]:
        opening = CounterMetricFamily(f"{PROGRAM}_opening_packets", "Opening packets of connections that were routed.")
        opening.add_metric([], opening_packets(self._routed))
        yield opening
        replies = CounterMetricFamily(f"{PROGRAM}_reply_packets", "Packets of answers from the servers.")
        replies.add_metric([], self._replies)
        yield replies
        refused = CounterMetricFamily(
            f"{PROGRAM}_refused_packets", "Packets refused, by what refused them.", labels=["by"]
        )
        for name, (table, chain) in _REFUSING_CHAINS.items():
            refused.add_metric([name], self._found.packets(table, chain))
        yield refused


def _name(family: Family) -> str:
    return f"IPv{family.value}"
