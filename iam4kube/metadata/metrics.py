"""What operators see of the metadata API. Never a label by role, pod or address: their number has no bound."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from iam4kube.metadata.distribution import Distribution
from iam4kube.metadata.keyring import Keyring
from iam4kube.metadata.requests import Authentication
from iam4kube.metadata.routes import Route

GONE = "gone"
"""In place of a status: the client hung up first."""
SLOW_SECONDS = 1.0  # botocore and JS v3 make one attempt of one second

# A warm answer takes microseconds. 0.4 s: Go v2 waits 0.5 for the headers; 1 s: most others; 15 s: our own deadline.
_DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.4, 1, 2.5, 5, 10, 16)
# Seconds. Under 10 minutes botocore goes on with dead credentials, under 25 s3fs fetches for each request.
_LIVES = (60, 300, 600, 900, 1200, 1500, 1800, 2400, 3000, 3600, 7200, 14400, 28800, 43200)


class MetadataMetrics(Collector):
    """Requests and refusals.

    What is counted with each request is counted here in plain numbers, on one event loop, and becomes metrics
    when somebody looks: 0.4 µs instead of the client library's 2, which locks.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers: dict[tuple[Route, str, Authentication], Distribution] = {}
        self._life = Distribution(_LIVES)
        self._refusals = Counter(
            "iam4kube_metadata_refusals",
            "Requests that got no role and no credentials, by reason.",
            ["reason"],
            registry=registry,
        )
        self._waiting = Gauge(
            "iam4kube_metadata_waiting_requests", "Requests that wait for an answer now.", registry=registry
        )
        registry.register(self)

    def answered(self, route: Route, status: str, authentication: Authentication, seconds: float) -> None:
        """A request ended, however it did."""
        key = (route, status, authentication)
        distribution = self._answers.get(key)
        if distribution is None:  # at most as many as there are combinations: some hundred
            distribution = self._answers[key] = Distribution(_DURATIONS)
        distribution.add(seconds)

    def refused(self, reason: str) -> None:
        """A request got nothing. `reason` comes from one of the enumerations."""
        self._refusals.labels(reason).inc()

    def served(self, life: float) -> None:
        """Credentials were handed out with `life` seconds left."""
        self._life.add(life)

    def count_waiting(self, count: Callable[[], int]) -> None:
        """Where to read the number of waiting requests."""
        self._waiting.set_function(count)

    def collect(self) -> Iterator[Metric]:
        """The metrics, as the registry asks for them."""
        requests = CounterMetricFamily(
            "iam4kube_metadata_requests",
            "Requests answered, by resource, status and authentication (v1: no token, v2: a valid one, issue: a token "
            "was asked for, invalid: refused). Status closed: the connection was closed instead of an answer; "
            "gone: the client hung up first.",
            labels=["route", "status", "authentication"],
        )
        slow = CounterMetricFamily(
            "iam4kube_metadata_slow_answers",
            "Answers that took over one second: most SDKs had given up.",
            labels=["route"],
        )
        durations = HistogramMetricFamily(
            "iam4kube_metadata_request_duration_seconds",
            "Time from a request's head to its answer, waiting included.",
            labels=["route"],
        )
        by_route = {route: Distribution(_DURATIONS) for route in Route}
        for (route, status, authentication), distribution in list(self._answers.items()):
            requests.add_metric([route, status, authentication.value], distribution.count)
            by_route[route].include(distribution)
        for route, distribution in by_route.items():
            durations.add_metric([route], distribution.buckets(), distribution.sum)
            slow.add_metric([route], distribution.over(SLOW_SECONDS))
        life = HistogramMetricFamily("iam4kube_metadata_credentials_life_seconds", "Life left on served credentials.")
        life.add_metric([], self._life.buckets(), self._life.sum)
        yield from (requests, slow, durations, life)


class KeyMetrics:
    """The token keys this replica knows. A rotation goes on when all replicas show the new id."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._known = Gauge(
            "iam4kube_token_key",
            "1 for each token key this replica verifies with; signs says whether it signs with it.",
            ["key_id", "signs"],
            registry=registry,
        )
        self._good = Gauge(
            "iam4kube_token_key_file_valid",
            "1 if the token key file was usable when last read, else 0: the keys read before stay in use.",
            registry=registry,
        )
        self._good.set(1)

    def show(self, keyring: Keyring) -> None:
        """These keys are in force."""
        self._known.clear()
        for key in keyring.keys:
            self._known.labels(key.id, "true" if key.id == keyring.signing else "false").set(1)

    def file_is_good(self, good: bool) -> None:
        """The file was read, and was usable or not."""
        self._good.set(1 if good else 0)


class ConnectionMetrics:
    """Connections, and those that were ended for breaking a limit or the protocol."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge("iam4kube_metadata_connections", "Open connections.", registry=registry)
        self._ended = Counter(
            "iam4kube_metadata_connections_ended",
            "Connections ended by the server, by reason: a limit, a deadline, or malformed HTTP.",
            ["reason"],
            registry=registry,
        )

    def ended(self, reason: str) -> None:
        """A connection was ended. `reason` is one of a few constants."""
        self._ended.labels(reason).inc()

    def count_open(self, count: Callable[[], int]) -> None:
        """Where to read the number of open connections."""
        self._open.set_function(count)
