"""What the prefetcher promises to identity and to requests, in virtual time with exact times."""

import asyncio
import contextlib
import logging

import pytest

from iam4kube.credentials.entry import GRACE, State
from iam4kube.credentials.values import Credentials, Failure, FailureKind, Fetched, FetchError, Refused
from iam4kube.roles import RoleKey
from tests.support.credentials import (
    HOUR,
    MINUTE,
    VIRTUAL_TIME,
    Fetching,
    TunableSource,
    access_denied,
    aws_time,
    changed_key,
    fetching,
    namespace_of,
    refusal,
    role_key,
    throttled,
    unavailable,
)

pytestmark = pytest.mark.looptime(**VIRTUAL_TIME)

KEY = role_key("role")


def _life_left(world: Fetching, key: RoleKey) -> float:
    found = world.prefetcher.lookup(key)
    assert isinstance(found, Fetched)
    return found.expires_at - asyncio.get_running_loop().time()


async def test_role_is_fetched_as_soon_as_it_is_held() -> None:
    """Nobody has to ask for it first."""
    async with fetching(TunableSource(latency=0.25)) as world:
        await asyncio.sleep(5)
        world.hold(KEY)
        assert world.prefetcher.lookup(KEY) is None
        await asyncio.sleep(0.251)
        assert world.source.times(KEY) == [5.0]
        assert isinstance(world.prefetcher.lookup(KEY), Fetched)


async def test_waiting_request_is_answered_the_moment_the_credentials_are_there() -> None:
    """The wait ends with the call, not at a poll."""
    async with fetching(TunableSource(latency=0.25)) as world:
        world.hold(KEY)
        assert isinstance(await world.credentials(KEY), Credentials)
        assert asyncio.get_running_loop().time() == pytest.approx(0.25, abs=1e-4)


async def test_one_object_per_fetch() -> None:
    """What is rendered from it can be cached under it: the same object until the next fetch."""
    async with fetching() as world:
        world.hold(KEY)
        await asyncio.sleep(1)
        first = world.prefetcher.lookup(KEY)
        await asyncio.sleep(10 * MINUTE)
        assert world.prefetcher.lookup(KEY) is first
        await asyncio.sleep(HOUR / 2)
        assert world.prefetcher.lookup(KEY) is not first


async def test_lifetime_is_counted_by_awss_clock_from_before_the_call() -> None:
    """The local wall clock may be wrong by hours: Expiration minus Date, counted from when the call began."""
    async with fetching(TunableSource(latency=2.0)) as world:
        world.hold(KEY)
        await asyncio.sleep(3)
        found = world.prefetcher.lookup(KEY)
        assert isinstance(found, Fetched)
        assert found.expires_at == pytest.approx(HOUR, abs=1e-3)
        assert found.credentials.expiration == aws_time(2.0 + HOUR)


async def test_steady_state_never_has_less_than_25_minutes_left() -> None:
    """Close to the limiter's capacity (0.62 of it), for three hours, asked for every ten seconds."""
    async with fetching(TunableSource(latency=0.2), rate=1.0, burst=2.0) as world:
        keys = [role_key(f"r{number}", namespace=f"ns{number % 40}") for number in range(1000)]
        world.hold(*keys)
        await asyncio.sleep(1000)
        least = HOUR
        while asyncio.get_running_loop().time() < 3 * HOUR:
            await asyncio.sleep(10)
            least = min(least, *(_life_left(world, key) for key in keys[::20]))
        assert least >= 25 * MINUTE


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


async def test_references_are_counted_and_a_grace_follows() -> None:
    """Two ServiceAccounts (of two clusters' worth of events) hold it; after the last it stays for a minute."""
    async with fetching() as world:
        world.hold(KEY, KEY)
        await asyncio.sleep(1)
        world.prefetcher.release(KEY)
        await asyncio.sleep(2 * GRACE)
        world.prefetcher.release(KEY)
        await asyncio.sleep(GRACE - 1)
        assert isinstance(world.prefetcher.lookup(KEY), Fetched)
        await asyncio.sleep(1.1)
        assert world.prefetcher.lookup(KEY) is None
        assert not world.prefetcher._entries
        assert world.prefetcher.statistics().states == dict.fromkeys(State, 0)


async def test_role_that_is_recreated_within_the_grace_is_not_fetched_again() -> None:
    """A ServiceAccount deleted and created anew keeps its credentials, and its back-off."""
    source = TunableSource()
    bad = role_key("bad")
    source.fail(bad, access_denied)
    async with fetching(source) as world:
        world.hold(KEY, bad)
        await asyncio.sleep(200)
        before = source.times(bad)
        for key in (KEY, bad):
            world.prefetcher.release(key)
            world.hold(key)
        await asyncio.sleep(0.9)
        assert source.times(KEY) == [0.0]
        assert source.times(bad) == before


async def test_releasing_what_nobody_holds_is_an_error() -> None:
    """It would be a bug of identity, and silence would hide it."""
    async with fetching() as world:
        with pytest.raises(ValueError, match="released more often than held"):
            world.prefetcher.release(KEY)


async def test_late_annotation_is_fetched_on_demand_and_taken_over_by_its_service_account() -> None:
    """A live read found the annotation before the watch did: one fetch serves both."""
    async with fetching() as world:
        assert isinstance(await world.credentials(KEY), Credentials)
        world.hold(KEY)
        await asyncio.sleep(2 * GRACE)
        assert len(world.source.calls) == 1
        assert isinstance(world.prefetcher.lookup(KEY), Fetched)


async def test_calls_are_single_flight() -> None:
    """However many wait, hold and release: one call at a time per key."""
    async with fetching(TunableSource(latency=1.0)) as world:
        world.hold(KEY)
        requests = [asyncio.create_task(world.credentials(KEY)) for _ in range(50)]
        await asyncio.sleep(0.5)
        world.prefetcher.release(KEY)
        world.hold(KEY)
        results = await asyncio.gather(*requests)
        assert len(world.source.calls) == 1
        assert len(set(map(id, results))) == 1


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
        assert min(_life_left(world, key) for key in keys) > 20 * MINUTE


async def test_changed_service_account_starts_over_at_once_but_every_ten_seconds_at_most() -> None:
    """A corrected annotation is fetched at once; one that is patched in a loop, every ten seconds."""
    async with fetching() as world:
        key = KEY
        world.hold(key)
        await asyncio.sleep(100)
        for number in range(300):
            after = changed_key(KEY, f"external-{number}")
            world.hold(after)
            world.prefetcher.release(key)
            key = after
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
        times = [call.at for call in world.source.calls]
        assert times == pytest.approx([0, 100, 110, 120, 130], abs=0.11)
        assert isinstance(world.prefetcher.lookup(key), Fetched)


async def test_namespace_that_churns_takes_nothing_from_the_others() -> None:
    """Fifty ServiceAccounts patched all the time, with pods waiting for each new role: another namespace's new roles,
    which nobody waits for, still go first.
    """
    source = TunableSource()
    async with fetching(source, rate=2.0, burst=2.0) as world, asyncio.TaskGroup() as tasks:
        churning = [role_key(f"c{number}", namespace="churning") for number in range(50)]
        world.hold(*churning)
        await asyncio.sleep(60)
        patching = tasks.create_task(_patch_in_a_loop(world, churning))
        await asyncio.sleep(120)
        others = [role_key(f"o{number}", namespace="other") for number in range(10)]
        world.hold(*others)
        await asyncio.sleep(5.6)
        assert all(isinstance(world.prefetcher.lookup(key), Fetched) for key in others)
        before = len(source.calls)
        await asyncio.sleep(10)
        assert len(source.calls) - before == pytest.approx(20, abs=1)  # what nobody else needs is theirs
        patching.cancel()


async def _patch_in_a_loop(world: Fetching, keys: list[RoleKey]) -> None:
    for number in range(10_000):
        with contextlib.ExitStack() as pods:
            for index, key in enumerate(keys):
                keys[index] = changed_key(key, f"external-{number}")
                world.hold(keys[index])
                world.prefetcher.release(key)
                pods.enter_context(world.prefetcher.demand(keys[index], namespace="churning"))
            await asyncio.sleep(1)


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


async def test_use_of_a_role_that_nobody_holds_is_ignored() -> None:
    """Nothing is kept for it."""
    async with fetching() as world:
        world.prefetcher.use(KEY, 5)
        assert not world.prefetcher._entries


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
