"""The first iam4kube's defects in fetching credentials: each test fails when its defect is put back."""

import asyncio
from collections.abc import Callable

import pytest

from iam4kube.credentials.entry import GRACE
from iam4kube.credentials.values import Credentials, Fetched, FetchError
from iam4kube.roles import SESSION_NAME_LIMIT, session_name
from tests.support.credentials import (
    HOUR,
    MINUTE,
    VIRTUAL_TIME,
    TunableSource,
    access_denied,
    fetching,
    role_key,
    unavailable,
)

pytestmark = pytest.mark.looptime(**VIRTUAL_TIME)

WORKERS = 10  # of the first iam4kube; here, too, in these tests


# A refusal is retried every 2.5 minutes in the end, transient trouble every 15 s, on average.
@pytest.mark.parametrize(("failure", "most"), [(access_denied, 50), (unavailable, 250)])
async def test_r01_failing_roles_stop_no_refresh_and_burn_no_budget(
    failure: Callable[[], FetchError], most: int
) -> None:
    """Thirty failing roles, three times the workers: good ones stay fresh, and the failing are left alone for longer
    and longer.
    """
    source = TunableSource(latency=0.5)
    good = [role_key(f"good{number}") for number in range(30)]
    bad = [role_key(f"bad{number}") for number in range(30)]
    for key in bad:
        source.fail(key, failure)
    async with fetching(source, slots=WORKERS) as world:
        world.hold(*bad, *good)
        await asyncio.sleep(7)
        assert all(isinstance(world.prefetcher.lookup(key), Fetched) for key in good)
        await asyncio.sleep(HOUR)
        for key in good:
            found = world.prefetcher.lookup(key)
            assert isinstance(found, Fetched)
            assert found.expires_at - asyncio.get_running_loop().time() >= 25 * MINUTE
        per_role = len([call for call in source.calls if call.key in bad]) / len(bad)
        assert 10 < per_role < most


async def test_r01_hanging_roles_hold_no_worker() -> None:
    """Roles whose calls never end are worse than failing ones: the slots are given back, a fifth at most is lost."""
    source = TunableSource(latency=0.1)
    bad = [role_key(f"bad{number}") for number in range(30)]
    for key in bad:
        source.hang(key)
    async with fetching(source, slots=WORKERS) as world:
        world.hold(*bad)
        await asyncio.sleep(2 * MINUTE)
        assert sum(source.running.values()) <= WORKERS / 5
        assert isinstance(await world.credentials(role_key("good"), within=0.2), Credentials)


async def test_r02_role_that_is_not_wanted_any_more_is_not_called_for() -> None:
    """A failing role whose ServiceAccount is deleted ends its retries; named again, it is fetched once, not twice."""
    source = TunableSource()
    bad = role_key("bad")
    source.fail(bad, access_denied)
    async with fetching(source) as world:
        world.hold(bad)
        await asyncio.sleep(30)
        world.prefetcher.release(bad)
        before = len(source.calls)
        await asyncio.sleep(HOUR)
        assert len(source.calls) == before
        source.heal(bad)
        world.hold(bad)
        await asyncio.sleep(GRACE)
        assert len(source.calls) == before + 1


async def test_r02_deleted_role_is_not_refreshed() -> None:
    """Not even once, when its refresh falls into the grace."""
    async with fetching() as world:
        world.hold(role_key("role"))
        await asyncio.sleep(23.9 * MINUTE)
        world.prefetcher.release(role_key("role"))
        await asyncio.sleep(HOUR)
        assert len(world.source.calls) == 1


@pytest.mark.parametrize("failure", [access_denied, unavailable])
async def test_r03_bad_role_does_not_keep_a_replica_from_being_ready(failure: Callable[[], FetchError]) -> None:
    """A refusal counts as tried, and so do three transient failures of a role among good ones."""
    source = TunableSource()
    source.fail(role_key("bad"), failure)
    async with fetching(source) as world:
        world.hold(role_key("bad"), *(role_key(f"good{number}") for number in range(5)))
        world.prefetcher.close_first_round()
        assert world.prefetcher.progress().waiting == 6
        await asyncio.sleep(5)
        assert world.prefetcher.progress().complete


async def test_r03_refreshes_and_new_roles_do_not_count_for_readiness() -> None:
    """Only roles that were known when the watches were synced count; busy workers later do not."""
    source = TunableSource()
    async with fetching(source) as world:
        world.hold(role_key("old"))
        world.prefetcher.close_first_round()
        await asyncio.sleep(1)
        source.latency = 5.0
        world.hold(role_key("new"))
        assert world.prefetcher.progress().complete
        assert world.prefetcher.progress().known == 2


async def test_r03_replica_without_sts_is_not_ready() -> None:
    """Three transient failures make a role tried, but not while over half of all calls fail."""
    source = TunableSource()
    source.fail(None, unavailable)
    async with fetching(source) as world:
        world.hold(*(role_key(f"r{number}") for number in range(5)))
        world.prefetcher.close_first_round()
        await asyncio.sleep(20)
        progress = world.prefetcher.progress()
        assert (progress.waiting, progress.sts_failing, progress.complete) == (0, True, False)
        source.heal(None)
        await asyncio.sleep(2 * MINUTE)
        assert world.prefetcher.progress().complete


async def test_r03_in_use_counts_only_the_roles_of_running_pods() -> None:
    """With `--ready-when=in-use`, ten thousand idle ServiceAccounts do not delay a replica."""
    async with fetching() as world:
        world.hold(*(role_key(f"idle{number}") for number in range(200)), role_key("used"))
        world.prefetcher.use(role_key("used"), 1)
        assert world.prefetcher.progress(in_use_only=True).waiting == 1
        await asyncio.sleep(0.1)
        assert world.prefetcher.progress(in_use_only=True).complete
        assert not world.prefetcher.progress().complete


async def test_r03_deleted_role_is_not_waited_for() -> None:
    """A ServiceAccount that goes before its role was tried does not keep the replica waiting."""
    source = TunableSource()
    source.hang(role_key("role"))
    async with fetching(source) as world:
        world.hold(role_key("role"))
        world.prefetcher.close_first_round()
        await asyncio.sleep(1)
        world.prefetcher.release(role_key("role"))
        assert world.prefetcher.progress().complete


async def test_r04_credentials_are_served_while_they_are_valid() -> None:
    """The refresh is tried from 24 to 30 minutes on, and in an outage of half an hour nobody is without."""
    source = TunableSource()
    key = role_key("role")
    async with fetching(source) as world:
        world.hold(key)
        await asyncio.sleep(1)
        source.fail(None, unavailable)
        for _ in range(3598):
            await asyncio.sleep(1)
            assert isinstance(world.prefetcher.lookup(key), Fetched)
        assert 24 * MINUTE <= source.times(key)[1] <= 30 * MINUTE


async def test_r05_demand_leaves_nothing_behind() -> None:
    """Requests for a thousand roles that no ServiceAccount names, cancelled before their turn and after it."""
    source = TunableSource(latency=0.5)
    async with fetching(source) as world:
        requests = [asyncio.create_task(world.credentials(role_key(f"r{number}"), within=5)) for number in range(1000)]
        await asyncio.sleep(1)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        # What was fetched, or is on its way, is kept for a minute: its client will ask again.
        assert len(world.prefetcher._entries) <= len(source.calls) <= 30
        await asyncio.sleep(GRACE + 2)
        assert not world.prefetcher._entries
        assert not world.prefetcher._queue._places
        assert len(world.prefetcher._queue._times) == len(world.prefetcher._waited) == len(world.waits) == 0
        assert sum(world.prefetcher.statistics().states.values()) == 0


async def test_r14_same_role_name_in_two_accounts_stays_apart() -> None:
    """So do two ServiceAccounts with one role, and external IDs set and not set: the key is all of it."""
    one, other = role_key("role", account="111111111111"), role_key("role", account="222222222222")
    async with fetching() as world:
        world.hold(one, role_key("another", namespace="b"))
        found = await world.credentials(one)
        found_other = await world.credentials(other)
        assert isinstance(found, Credentials)
        assert isinstance(found_other, Credentials)
        assert found.secret_access_key != found_other.secret_access_key
        assert [call.key for call in world.source.calls][-1] == other


async def test_r15_long_names_make_a_session_name_that_sts_takes() -> None:
    """A namespace of 63 and a name of 253 characters: cut, still unique, the same each time."""
    names = [session_name(namespace="n" * 63, service_account="s" * 252 + end) for end in "ab"]
    assert all(len(name) <= SESSION_NAME_LIMIT for name in names)
    assert names[0] != names[1]
    assert names[0] == session_name(namespace="n" * 63, service_account="s" * 252 + "a")


async def test_r18_calls_per_replica_are_roles_by_refresh_interval() -> None:
    """A role costs a replica one call in 24 to 30 minutes (27 on average), whether pods use it or not, whatever is
    asked of it.
    """
    async with fetching() as world:
        keys = [role_key(f"r{number}") for number in range(50)]
        world.hold(*keys)
        for _ in range(100):
            await asyncio.sleep(9 * MINUTE)
            for key in keys:
                await world.credentials(key)
        expected = len(keys) * (1 + 900 / 27)
        assert len(world.source.calls) == pytest.approx(expected, rel=0.03)
