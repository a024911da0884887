"""What the prefetcher promises to identity and to requests, in virtual time with exact times."""

import asyncio
import contextlib

import pytest

from iam4kube.credentials.entry import GRACE, State
from iam4kube.credentials.values import Credentials, Fetched
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
    role_key,
)

pytestmark = pytest.mark.looptime(**VIRTUAL_TIME)

KEY = role_key("role")


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
            least = min(least, *(world.life_left(key) for key in keys[::20]))
        assert least >= 25 * MINUTE


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


async def test_use_of_a_role_that_nobody_holds_is_ignored() -> None:
    """Nothing is kept for it."""
    async with fetching() as world:
        world.prefetcher.use(KEY, 5)
        assert not world.prefetcher._entries
