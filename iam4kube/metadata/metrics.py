"""What operators see of the metadata API. Never a label by role, pod or address: their number has no bound.

A child of a labelled metric costs 1 µs to look up and a request's budget is 6.7, so children are kept.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from iam4kube.metadata.keyring import Keyring
from iam4kube.metadata.routes import Route

SLOW_SECONDS = 1.0  # botocore and JS v3 make one attempt of one second

# A warm answer takes microseconds. 0.4 s: Go v2 waits 0.5 for the headers; 1 s: most others; 15 s: our own deadline.
_DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.4, 1, 2.5, 5, 10, 16)
# Seconds. Under 10 minutes botocore goes on with dead credentials, under 25 s3fs fetches for each request.
_LIVES = (60, 300, 600, 900, 1200, 1500, 1800, 2400, 3000, 3600, 7200, 14400, 28800, 43200)


class MetadataMetrics:
    """Requests and refusals."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "iam4kube_metadata_requests",
            "Requests answered, by resource, status and kind of authentication (v1: no token, v2: a valid one, "
            "issue: a token was asked for, invalid: refused). Status closed: the connection was closed instead of an "
            "answer; gone: the client hung up first.",
            ["route", "status", "authentication"],
            registry=registry,
        )
        self._durations = Histogram(
            "iam4kube_metadata_request_duration_seconds",
            "Time from a request's head to its answer, waiting included.",
            ["route"],
            buckets=_DURATIONS,
            registry=registry,
        )
        self._slow = Counter(
            "iam4kube_metadata_slow_answers",
            "Answers that took over one second: most SDKs had given up.",
            ["route"],
            registry=registry,
        )
        self._refusals = Counter(
            "iam4kube_metadata_refusals",
            "Requests that got no role and no credentials, by reason.",
            ["reason"],
            registry=registry,
        )
        self._life = Histogram(
            "iam4kube_metadata_credentials_life_seconds",
            "Life left on served credentials.",
            buckets=_LIVES,
            registry=registry,
        )
        self._waiting = Gauge(
            "iam4kube_metadata_waiting_requests", "Requests that wait for an answer now.", registry=registry
        )
        self._counted: dict[tuple[Route, str, str], Counter] = {}
        self._timed = {route: self._durations.labels(route) for route in Route}

    def answered(self, route: Route, status: str, authentication: str, seconds: float) -> None:
        """A request ended, however it did."""
        key = (route, status, authentication)
        counter = self._counted.get(key)
        if counter is None:  # at most as many as there are combinations: some hundred
            counter = self._counted[key] = self._requests.labels(*key)
        counter.inc()
        self._timed[route].observe(seconds)
        if seconds > SLOW_SECONDS:
            self._slow.labels(route).inc()

    def refused(self, reason: str) -> None:
        """A request got nothing. `reason` comes from one of the enumerations."""
        self._refusals.labels(reason).inc()

    def served(self, life: float) -> None:
        """Credentials were handed out with `life` seconds left."""
        self._life.observe(life)

    def count_waiting(self, count: Callable[[], int]) -> None:
        """Where to read the number of waiting requests."""
        self._waiting.set_function(count)


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
