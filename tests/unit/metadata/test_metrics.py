"""The metrics that are counted in plain numbers come out as Prometheus expects them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from iam4kube.metadata.distribution import Distribution
from iam4kube.metadata.metrics import MetadataMetrics
from iam4kube.metadata.requests import Authentication
from iam4kube.metadata.routes import Route

BOUNDS = (0.1, 1, 10)


@given(st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.2, 1.0, 1.5, 10.0, 11.0, -1.0])))
def test_a_distribution_says_what_the_client_librarys_histogram_says(values: list[float]) -> None:
    """The same buckets, count and sum for the same values, the bounds themselves among them."""
    registry = CollectorRegistry()
    histogram = Histogram("h", "h", buckets=BOUNDS, registry=registry)
    distribution = Distribution(BOUNDS)
    for value in values:
        histogram.observe(value)
        distribution.add(value)

    for bound, count in distribution.buckets():
        assert registry.get_sample_value("h_bucket", {"le": bound}) == count
    assert distribution.count == len(values)
    assert distribution.sum == pytest.approx(registry.get_sample_value("h_sum"))
    assert distribution.over(1) == len([value for value in values if value > 1])


def test_answers_are_counted_timed_and_the_slow_ones_too() -> None:
    """By resource, status and kind of authentication; durations by resource alone."""
    registry = CollectorRegistry()
    metrics = MetadataMetrics(registry)
    metrics.answered(Route.ROLE_LIST, "200", Authentication.V2, 0.001)
    metrics.answered(Route.ROLE_LIST, "200", Authentication.V2, 1.5)
    metrics.answered(Route.ROLE_LIST, "404", Authentication.V1, 0.001)

    requests = {"route": "role_list", "status": "200", "authentication": "v2"}
    assert registry.get_sample_value("iam4kube_metadata_requests_total", requests) == 2
    durations = "iam4kube_metadata_request_duration_seconds"
    assert registry.get_sample_value(f"{durations}_count", {"route": "role_list"}) == 3
    assert registry.get_sample_value(f"{durations}_bucket", {"route": "role_list", "le": "1.0"}) == 2
    assert registry.get_sample_value("iam4kube_metadata_slow_answers_total", {"route": "role_list"}) == 1
    assert registry.get_sample_value("iam4kube_metadata_slow_answers_total", {"route": "zone"}) == 0


def test_everything_is_there_before_the_first_request() -> None:
    """A rate over a series that does not exist yet misses its first increase."""
    registry = CollectorRegistry()
    MetadataMetrics(registry)
    text = generate_latest(registry).decode()
    for name in ("request_duration_seconds_count", "slow_answers_total", "credentials_life_seconds_count"):
        assert f"iam4kube_metadata_{name}" in text
