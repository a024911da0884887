"""When roles are fetched again, and how fast: schedule, pace, shares and churn, in exact numbers."""

import asyncio
import random

import pytest

from iam4kube.credentials.churn import RESTART_INTERVAL, Churn, Restarts
from iam4kube.credentials.outage import RecentCalls
from iam4kube.credentials.pace import Pace, RetryShare
from iam4kube.credentials.schedule import Schedule
from iam4kube.credentials.values import FailureKind
from tests.support.credentials import HOUR, VIRTUAL_TIME, role_key

NAME = role_key("role").session_name


def test_refresh_is_due_at_40_to_50_percent_of_the_lifetime() -> None:
    """Drawn over the whole range, so that roles fetched together drift apart; never more often than every 10 s."""
    schedule = Schedule(random.Random(1))
    draws = [schedule.refresh_after(HOUR) for _ in range(1000)]
    assert 0.4 * HOUR <= min(draws) < 0.405 * HOUR
    assert 0.495 * HOUR < max(draws) <= 0.5 * HOUR
    assert schedule.refresh_after(1.0) == 10.0


@pytest.mark.parametrize(
    ("kind", "ceilings"),
    [
        (FailureKind.TRANSIENT, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]),
        (FailureKind.THROTTLED, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]),
        (FailureKind.PERMANENT, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]),
    ],
)
def test_retries_back_off_with_full_jitter(kind: FailureKind, ceilings: list[float]) -> None:
    """The first after a second, then anywhere between a second and a doubling bound."""
    schedule = Schedule(random.Random(1))
    for failures, ceiling in enumerate(ceilings, start=1):
        draws = [schedule.retry_after(kind, failures) for _ in range(500)]
        assert 1.0 <= min(draws) <= 1.0 + 0.05 * ceiling
        assert 0.95 * ceiling <= max(draws) <= ceiling
    assert schedule.retry_after(kind, 100_000) <= ceilings[-1]


@pytest.mark.looptime(**VIRTUAL_TIME)
async def test_throttling_slows_everything_down_and_success_speeds_it_up_again() -> None:
    """The cost of a call doubles once a second at most, up to 16 tokens, and half a token comes off per success."""
    pace = Pace(rate=10.0, burst=20.0)
    costs = []
    for now in (0.0, 0.5, 1.0, 2.0, 3.0, 4.0):
        pace.throttled(now)
        costs.append(pace.cost)
    assert costs == [2, 2, 4, 8, 16, 16]
    loop = asyncio.get_running_loop()
    await pace.acquire()
    start = loop.time()
    for _ in range(10):
        await pace.acquire()
    assert loop.time() - start == pytest.approx(10 * 1.6 - 0.4, abs=1e-4)
    for _ in range(30):
        pace.succeeded()
    assert pace.cost == 1.0


@pytest.mark.looptime(**VIRTUAL_TIME)
async def test_throttling_slows_down_a_limiter_with_a_small_burst_as_well() -> None:
    """A call may cost more tokens than the limiter holds at once."""
    pace = Pace(rate=1.0, burst=3.0)
    for now in range(10):
        pace.throttled(float(now))
    await pace.acquire()
    assert asyncio.get_running_loop().time() == pytest.approx(16 - 3, abs=1e-4)


def test_retries_get_a_fifth_of_the_rate_of_the_burst_and_of_the_slots() -> None:
    """Four at once, then two a second; and no more than a fifth of the calls under way."""
    share = RetryShare(rate=10.0, burst=20.0, slots=20, now=0.0)
    started = 0
    while share.open(0.0):
        share.started(1.0, 0.0)
        started += 1
    assert started == 4
    for _ in range(4):
        share.ended()
    assert share.opens_at(0.0) == 0.5
    assert share.open(0.5)
    share.started(4.0, 0.5)  # while throttled: the share of the calls stays a fifth
    share.ended()
    assert share.opens_at(0.5) == 0.5 + 4 / 2
    assert RetryShare(rate=1.0, burst=1.0, slots=1, now=0.0).open(0.0)


def test_slots_of_the_share_hold_with_tokens_to_spare() -> None:
    """Four retries that hang keep the fifth from going out, and no more than that."""
    share = RetryShare(rate=10.0, burst=20.0, slots=20, now=0.0)
    for now in (10.0, 20.0, 30.0, 40.0):
        assert share.open(now)
        share.started(1.0, now)
    assert not share.open(100.0)
    share.ended()
    assert share.open(100.0)


def test_service_account_restarts_at_most_every_ten_seconds() -> None:
    """Its next new key is held back; others are not; and nothing is remembered longer."""
    restarts = Restarts()
    restarts.started(NAME, 100.0)
    assert restarts.allowed_at(NAME, 101.0) == 100.0 + RESTART_INTERVAL
    assert restarts.allowed_at(role_key("other").session_name, 101.0) == 101.0
    assert restarts.allowed_at(NAME, 110.0) == 110.0
    assert not restarts._last


def test_namespace_pays_for_keys_that_go() -> None:
    """Twenty at once are free, one in ten seconds is free, and what it cannot pay is forgotten in time."""
    churn = Churn()
    for _ in range(19):
        churn.charge("busy", 0.0)
    assert not churn.excessive("busy", 0.0)
    churn.charge("busy", 0.0)
    assert churn.excessive("busy", 0.0)
    assert not churn.excessive("quiet", 0.0)
    assert not churn.excessive("busy", 10.1)
    for _ in range(1000):
        churn.charge("busy", 20.0)
    assert churn.excessive("busy", 200.0)
    assert not churn.excessive("busy", 230.0)


def test_debts_that_are_paid_are_not_remembered() -> None:
    """Namespaces that come and go leave nothing behind for long."""
    churn = Churn()
    for number in range(5000):
        churn.charge(f"ns{number}", float(number))
    assert len(churn._owing) <= 1001


def test_last_minute_is_a_minute() -> None:
    """Over half of the last minute's calls: older ones do not count, and no calls are no failure."""
    calls = RecentCalls()
    assert not calls.mostly_failing(0.0)
    calls.record(0.5, transient=True)
    calls.record(1.5, transient=False)
    assert not calls.mostly_failing(2.0)
    calls.record(2.5, transient=True)
    assert calls.mostly_failing(3.0)
    assert calls.transient_failures(60.2) == 1
    assert not calls.mostly_failing(60.2)
    assert not calls.mostly_failing(200.0)
