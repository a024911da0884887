"""What the prefetcher makes of refusals, outages and slow calls, in virtual time with exact times."""

import asyncio
import logging

import pytest

from iam4kube.credentials.entry import State
from iam4kube.credentials.values import Credentials, Failure, FailureKind, Fetched, FetchError, Refused
from tests.support.credentials import (
    HOUR,
    MINUTE,
    VIRTUAL_TIME,
    TunableSource,
    access_denied,
    fetching,
    role_key,
    throttled,
    unavailable,
)

pytestmark = pytest.mark.looptime(**VIRTUAL_TIME)

KEY = role_key("role")


async def test_failing_refresh_leaves_the_credentials_until_they_expire() -> None:
    """STS is down for longer than the session lives: served to the last second, then waited for, then there."""
    source = TunableSource()
    async with fetching(source) as world:
        world.hold(KEY)
        await asyncio.sleep(1)
        source.fail(None, unavailable)
        await asyncio.sleep(HOUR - 1.5)
        assert isinstance(world.prefetcher.lookup(KEY), Fetched)
        await asyncio.sleep(1)
        assert world.prefetcher.lookup(KEY) is None
        assert world.prefetcher.statistics().states[State.FAILING] == 1
        source.heal(None)
        assert isinstance(await world.credentials(KEY, within=60), Credentials)


async def test_refused_role_is_refused_at_once_and_recovers() -> None:
    """The refusal is the answer, with AWS's words; when IAM becomes consistent, so do we."""
    source = TunableSource()
    source.fail(KEY, access_denied)
    async with fetching(source) as world:
        world.hold(KEY)
        assert await world.credentials(KEY) == Failure(FailureKind.PERMANENT, "AccessDenied", "not authorized")
        assert asyncio.get_running_loop().time() == 0.0
        source.heal(KEY)
        await asyncio.sleep(1.1)
        assert isinstance(world.prefetcher.lookup(KEY), Fetched)


async def test_refusal_of_a_refresh_shows_only_when_the_credentials_have_expired() -> None:
    """A policy that is broken for a while takes nobody's valid credentials away."""
    source = TunableSource()
    async with fetching(source) as world:
        world.hold(KEY)
        await asyncio.sleep(1)
        source.fail(KEY, access_denied)
        await asyncio.sleep(HOUR - 2)
        assert isinstance(world.prefetcher.lookup(KEY), Fetched)
        await asyncio.sleep(2)
        assert world.prefetcher.lookup(KEY) == Refused("AccessDenied", "not authorized")


async def test_refusal_outlasts_transient_trouble() -> None:
    """STS refused the role and then went down: still refused at once, not waited for."""
    source = TunableSource()
    source.fail(KEY, access_denied)
    async with fetching(source) as world:
        world.hold(KEY)
        await asyncio.sleep(0.5)
        source.fail(KEY, unavailable)
        await asyncio.sleep(10)
        assert world.prefetcher.lookup(KEY) == Refused("AccessDenied", "not authorized")


async def test_hung_call_gives_its_slot_back() -> None:
    """A role whose calls never end costs one slot for the call deadline, and the others nothing."""
    source = TunableSource(latency=0.1)
    source.hang(role_key("hung"))
    async with fetching(source, slots=2) as world:
        world.hold(role_key("hung"), role_key("a"), role_key("b"))
        await asyncio.sleep(0.21)
        assert isinstance(world.prefetcher.lookup(role_key("b")), Fetched)
        await asyncio.sleep(15)
        assert world.failure(role_key("hung")) == Failure(
            FailureKind.TRANSIENT, "Timeout", "no answer from STS within 15 s"
        )
        assert source.running[role_key("hung")] == 0


async def test_throttling_slows_all_calls_down() -> None:
    """After throttled calls the next ones go out at a fraction of the rate, and full speed comes back."""
    source = TunableSource()
    async with fetching(source) as world:
        source.fail(role_key("r0"), throttled)
        world.hold(role_key("r0"))
        await asyncio.sleep(0.5)
        assert world.metric("iam4kube_sts_call_cost") == 2.0
        world.hold(*(role_key(f"r{number}") for number in range(1, 60)))
        await asyncio.sleep(0.1)
        assert 9 <= len(source.calls) <= 14  # 20 tokens at 2 falling to 1 apiece
        source.heal(role_key("r0"))
        await asyncio.sleep(30)
        assert world.metric("iam4kube_sts_call_cost") == 1.0


async def test_sts_back_from_an_outage_gets_all_roles_fresh_at_full_rate() -> None:
    """Two thousand roles interrupted by ten minutes of outage are not left to the retries' fifth: none expires."""
    source = TunableSource()
    async with fetching(source) as world:
        keys = [role_key(f"r{number}", namespace=f"ns{number % 10}") for number in range(2000)]
        world.hold(*keys)
        await asyncio.sleep(24 * MINUTE)
        source.fail(None, unavailable)
        await asyncio.sleep(10 * MINUTE)
        source.heal(None)
        assert world.prefetcher.statistics().states[State.RETRYING] > 1500
        await asyncio.sleep(5 * MINUTE)
        assert world.prefetcher.statistics().states[State.FRESH] == 2000
        assert min(world.life_left(key) for key in keys) > 20 * MINUTE


async def test_source_that_breaks_its_promise_costs_only_its_role(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that is no FetchError counts as transient, and its text with a secret stays out of events."""
    source = TunableSource()

    def bug() -> FetchError:
        raise RuntimeError("a bug")

    source.fail(KEY, bug)
    async with fetching(source) as world:
        world.hold(KEY, role_key("other"))
        await asyncio.sleep(1)
        assert isinstance(world.prefetcher.lookup(role_key("other")), Fetched)
        assert world.failure(KEY) == Failure(FailureKind.TRANSIENT, "InternalError", "see the server's log")
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


async def test_session_that_is_over_on_arrival_is_a_failure() -> None:
    """It must not be fetched again and again at the limiter's rate."""
    source = TunableSource(lifetime=0.0)
    async with fetching(source) as world:
        world.hold(KEY)
        await asyncio.sleep(60)
        assert world.prefetcher.lookup(KEY) is None
        failure = world.failure(KEY)
        assert failure is not None
        assert failure.code == "ExpiredOnArrival"
        assert len(source.calls) < 15
