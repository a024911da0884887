"""What the prefetcher tells its operators: the log and the metrics."""

import asyncio
import logging

import pytest

from tests.support.credentials import (
    HOUR,
    VIRTUAL_TIME,
    TunableSource,
    access_denied,
    fetching,
    namespace_of,
    refusal,
    role_key,
    unavailable,
)

pytestmark = pytest.mark.looptime(**VIRTUAL_TIME)

KEY = role_key("role")


async def test_log_tells_changes_only(caplog: pytest.LogCaptureFixture) -> None:
    """Failing once per code, fetched again: refreshes and further failures are no news; and no secrets."""
    caplog.set_level(logging.DEBUG, logger="iam4kube")
    source = TunableSource()
    async with fetching(source) as world:
        world.hold(KEY)
        await asyncio.sleep(3 * HOUR)
        source.fail(KEY, unavailable)
        await asyncio.sleep(HOUR / 2)
        source.fail(KEY, access_denied)
        await asyncio.sleep(HOUR / 2)
        source.heal(KEY)
        await asyncio.sleep(HOUR / 2)
    heard = [getattr(record, "code", record.getMessage()) for record in caplog.records]
    assert heard == ["ServiceUnavailable", "AccessDenied", "Credentials are fetched again"]
    assert "secret of" not in caplog.text + "".join(str(vars(record)) for record in caplog.records)


async def test_metrics_count_calls_roles_reasons_and_waits() -> None:
    """By result, state, reason and lane; and never by role."""
    source = TunableSource()
    bad = role_key("bad")
    source.fail(bad, access_denied)
    hung = role_key("hung")
    source.hang(hung)
    async with fetching(source) as world:
        world.hold(KEY, bad, hung)
        with world.prefetcher.demand(hung, namespace=namespace_of(hung)):
            await asyncio.sleep(0.75)
            assert world.metric("iam4kube_credentials_oldest_wait_seconds") == 0.75
        assert world.metric("iam4kube_sts_calls_total", result="success") == 1
        assert world.metric("iam4kube_sts_calls_total", result="permanent") == 1
        assert world.metric("iam4kube_sts_calls_running") == 1
        assert world.metric("iam4kube_credentials_roles", state="fresh") == 1
        assert world.metric("iam4kube_credentials_roles", state="refused") == 1
        assert world.metric("iam4kube_credentials_roles", state="pending") == 1
        assert world.metric("iam4kube_credentials_failing_roles", reason="AccessDenied") == 1
        assert world.metric("iam4kube_credentials_queue_length", urgency="new") == 0
        source.heal(bad)
        await asyncio.sleep(5)
        assert world.metric("iam4kube_credentials_failing_roles", reason="AccessDenied") == 0
        labels = {label for family in world.registry.collect() for sample in family.samples for label in sample.labels}
        assert labels <= {"result", "state", "reason", "urgency", "le"}


async def test_reasons_are_bounded() -> None:
    """An endpoint that makes up error codes does not make up time series."""
    source = TunableSource()
    async with fetching(source, rate=1000.0, burst=1000.0, slots=1000) as world:
        for number in range(60):
            key = role_key(f"r{number}")
            source.fail(key, refusal(f"C{number}"))
            world.hold(key)
        await asyncio.sleep(0.5)
        failing = world.prefetcher.statistics().failing
        assert len(failing) == 41
        assert failing["other"] == 20
