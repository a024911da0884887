"""Metrics of watching and of events, shared by both programs; the registry is injected."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LIST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)


class WatchMetrics:
    """Of one watched resource."""

    def __init__(self, metrics: "KubeMetrics", resource: str) -> None:
        self.list_seconds = metrics.list_seconds.labels(resource)
        self.events = metrics.watch_events.labels(resource)
        self.odd_objects = metrics.odd_objects.labels(resource)
        self.handler_errors = metrics.handler_errors.labels(resource)
        self._failures = metrics.watch_failures
        self._resource = resource

    def failed(self, reason: str) -> None:
        """Count a list or watch that ended otherwise than in good order."""
        self._failures.labels(self._resource, reason).inc()


class KubeMetrics:
    """All of them, named after the program. One for each registry."""

    def __init__(self, registry: CollectorRegistry, *, program: str) -> None:
        self._age = Gauge(
            f"{program}_watch_age_seconds",
            "Seconds since a watch last said anything (event, bookmark or list); infinite before the first list.",
            ["resource"],
            registry=registry,
        )
        self._objects = Gauge(f"{program}_watch_objects", "Objects known now.", ["resource"], registry=registry)
        self.list_seconds = Histogram(
            f"{program}_watch_list_seconds",
            "Duration of complete lists, all pages. More than one for each start means that watches had expired.",
            ["resource"],
            registry=registry,
            buckets=_LIST_SECONDS,
        )
        self.watch_events = Counter(
            f"{program}_watch_events_total", "Events received, bookmarks included.", ["resource"], registry=registry
        )
        self.watch_failures = Counter(
            f"{program}_watch_failures_total",
            "Lists and watches that failed, by reason: "
            "expired, unauthorized, forbidden, throttled, refused, unreachable, odd, short.",
            ["resource", "reason"],
            registry=registry,
        )
        self.odd_objects = Counter(
            f"{program}_watch_odd_objects_total",
            "Objects left out because they are not what their kind says.",
            ["resource"],
            registry=registry,
        )
        self.handler_errors = Counter(
            f"{program}_watch_handler_errors_total",
            "Changes whose handler raised an exception: a defect of this program.",
            ["resource"],
            registry=registry,
        )
        self.events = Counter(
            f"{program}_events_total",
            "Events recorded, by what became of them: "
            "sent, counted (not sent: its object has caused too many), refused, failed (no answer), "
            "dropped (the queue was full).",
            ["outcome"],
            registry=registry,
        )

    def watch(self, resource: str, *, age: Callable[[], float], objects: Callable[[], int]) -> WatchMetrics:
        """The metrics of one watch; the two gauges read what they show from it."""
        self._age.labels(resource).set_function(age)
        self._objects.labels(resource).set_function(objects)
        return WatchMetrics(self, resource)
