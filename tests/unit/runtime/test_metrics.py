"""Metrics: what every process tells of itself, and children found once."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter

from iam4kube.runtime.metrics import LoopLag, new_registry, render


def test_a_registry_tells_of_the_process_and_the_build() -> None:
    """As text that Prometheus reads."""
    body, content_type = render(new_registry(program="iam4kube", version="1.2.3"))
    assert content_type.startswith("text/plain")
    lines = body.decode().splitlines()
    assert 'iam4kube_build_info{version="1.2.3"} 1.0' in lines
    for metric in ("process_resident_memory_bytes", "process_open_fds", "python_info", "python_gc_collections_total"):
        assert any(line.startswith(metric) for line in lines)


def test_registries_are_independent() -> None:
    """Nothing is registered globally: two servers in one process, as in the tests, do not collide."""
    one, other = (new_registry(program="iam4kube", version="1") for _ in range(2))
    Counter("iam4kube_answers", "Answers.", registry=one).inc()
    assert b"iam4kube_answers" not in render(other)[0]


def test_the_scrapers_accept_header_chooses_the_format() -> None:
    """OpenMetrics for those who ask for it."""
    body, content_type = render(CollectorRegistry(), accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


@pytest.mark.looptime
async def test_the_lag_of_a_loop_that_is_never_late_is_nothing() -> None:
    """Ten measurements a second, each in the lowest bucket."""
    registry = CollectorRegistry()
    measuring = asyncio.create_task(LoopLag(registry, program="iam4kube").run())
    await asyncio.sleep(10.05)
    measuring.cancel()
    await asyncio.wait([measuring])
    assert registry.get_sample_value("iam4kube_event_loop_lag_seconds_count") == 100
    assert registry.get_sample_value("iam4kube_event_loop_lag_seconds_bucket", {"le": "0.001"}) == 100
