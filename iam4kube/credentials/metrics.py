"""What operators see of fetching. Never a label by role, pod or address: series must not grow with the cluster."""

from collections.abc import Callable, Iterable, Mapping

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from iam4kube.credentials.values import Credentials, FailureKind, FetchError

_SUCCESS = "success"
# A regional AssumeRole takes 50 to 500 ms; the call deadline is the last bucket that can fill.
_BUCKETS = (0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0)


class CallMetrics:
    """Counts the calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        calls = Counter(
            "iam4kube_sts_calls", "Calls for credentials of a role, by result.", ["result"], registry=registry
        )
        self._results = {result: calls.labels(result) for result in (_SUCCESS, *FailureKind)}
        self._seconds = Histogram(
            "iam4kube_sts_call_duration_seconds",
            "How long calls for credentials took, failed ones included.",
            buckets=_BUCKETS,
            registry=registry,
        )

    def observe(self, outcome: Credentials | FetchError, *, seconds: float) -> None:
        """A call ended."""
        self._results[outcome.kind if isinstance(outcome, FetchError) else _SUCCESS].inc()
        self._seconds.observe(seconds)


class Statistics(msgspec.Struct, frozen=True):
    """The prefetcher in numbers, at one moment."""

    states: Mapping[str, int]
    failing: Mapping[str, int]
    queue: Mapping[str, int]
    oldest_wait: float
    """Seconds."""
    calls_running: int
    call_cost: float


class StatisticsCollector(Collector):
    """Turns statistics into gauges when they are scraped."""

    def __init__(self, statistics: Callable[[], Statistics]) -> None:
        self._statistics = statistics

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The gauges, as prometheus-client asks for them."""
        now = self._statistics()
        yield _by_label("iam4kube_credentials_roles", "Roles by state.", "state", now.states)
        yield _by_label("iam4kube_credentials_failing_roles", "Roles whose last fetch failed.", "reason", now.failing)
        yield _by_label("iam4kube_credentials_queue_length", "Roles to be fetched now.", "urgency", now.queue)
        yield GaugeMetricFamily(
            "iam4kube_credentials_oldest_wait_seconds",
            "How long the oldest waiting request has been waiting for its role's credentials.",
            now.oldest_wait,
        )
        yield GaugeMetricFamily("iam4kube_sts_calls_running", "Calls under way.", now.calls_running)
        yield GaugeMetricFamily(
            "iam4kube_sts_call_cost",
            "Limiter's tokens that a call takes: 1 at full speed, more while STS throttles.",
            now.call_cost,
        )


def _by_label(name: str, text: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
