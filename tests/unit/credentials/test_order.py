"""The order of the fetch queue, in virtual time: one call in a second shows it."""

import asyncio
import contextlib

import pytest

from tests.support.credentials import (
    HOUR,
    MINUTE,
    VIRTUAL_TIME,
    Fetching,
    TunableSource,
    access_denied,
    fetching,
    namespace_of,
    role_key,
)

pytestmark = pytest.mark.looptime(**VIRTUAL_TIME)


def _order(world: Fetching, *, since: float) -> list[str]:
    return [call.key.arn.rpartition("/")[2] for call in world.source.calls if call.at >= since]


async def test_limiter_gives_a_burst_and_then_ten_calls_a_second() -> None:
    """Twenty of fifty roles are fetched at once, each further one a tenth of a second later."""
    async with fetching() as world:
        world.hold(*(role_key(f"r{number}") for number in range(50)))
        await asyncio.sleep(10)
        times = [call.at for call in world.source.calls]
        assert times == pytest.approx([0.0] * 20 + [number / 10 for number in range(1, 31)], abs=1e-4)


async def test_refresh_that_is_due_waits_for_roles_without_credentials_until_28_minutes_are_left() -> None:
    """A refresh comes after all new roles, but at 28 minutes left it goes ahead of them."""
    source = TunableSource()
    async with fetching(source, rate=1.0, burst=1.0) as world:
        old = role_key("old")
        world.hold(old)
        await asyncio.sleep(23.9 * MINUTE)
        world.hold(*(role_key(f"new{number}", namespace=f"ns{number}") for number in range(2000)))
        await asyncio.sleep(12 * MINUTE)
        assert source.times(old)[1] == pytest.approx(32 * MINUTE, abs=1.01)


async def test_refreshes_go_out_by_due_time() -> None:
    """Without anything else to do, refreshes go out in the order in which they are due."""
    async with fetching(seed=4) as world:
        keys = [role_key(f"r{number}", namespace=f"ns{number % 3}") for number in range(15)]
        world.hold(*keys)
        await asyncio.sleep(1)
        due = sorted(((world.prefetcher._entries[key].refresh_at, key) for key in keys), key=lambda pair: pair[0])
        await asyncio.sleep(HOUR / 2)
        second = world.source.calls[15:]
        assert [call.key for call in second] == [key for _, key in due]
        assert [call.at for call in second] == pytest.approx([at for at, _ in due], abs=1e-4)
        assert all(0.4 * HOUR <= at <= 0.5 * HOUR for at, _ in due)


async def test_token_first_and_head_of_the_queue_then() -> None:
    """A role that begins to be waited for while the limiter is awaited gets the very next token."""
    async with fetching(rate=1.0, burst=1.0) as world:
        world.hold(*(role_key(f"r{number}") for number in range(10)))
        await asyncio.sleep(1.5)
        with world.prefetcher.demand(role_key("late"), namespace="other"):
            await asyncio.sleep(1)
        assert world.source.times(role_key("late")) == pytest.approx([2.0], abs=1e-4)


async def test_namespaces_take_turns() -> None:
    """A namespace with a hundred new roles does not stand in front of another's one."""
    async with fetching(rate=1.0, burst=1.0) as world:
        world.hold(*(role_key(f"r{number}", namespace="crowded") for number in range(100)))
        world.hold(role_key("only", namespace="small"))
        await asyncio.sleep(5)
        assert world.source.times(role_key("only", namespace="small")) == pytest.approx([1.0], abs=1e-4)


async def test_demand_that_comes_and_goes_keeps_the_turn_of_its_role() -> None:
    """More requests for a role that is waited for already do not move it back behind other namespaces."""
    async with fetching(rate=1.0, burst=1.0) as world:
        world.hold(role_key("first"))
        await asyncio.sleep(0.1)
        demand = world.prefetcher.demand
        one, other = role_key("a", namespace="a"), role_key("b", namespace="b")
        with demand(one, namespace="a"), demand(other, namespace="b"), demand(one, namespace="a"):
            await asyncio.sleep(1)
        assert _order(world, since=0.5) == ["a"]


async def test_failing_role_that_is_waited_for_stays_in_the_retries_share() -> None:
    """Twenty requests that wait for failing roles leave a good one its place, and get a fifth of the limiter."""
    source = TunableSource()
    async with fetching(source, rate=10.0, burst=10.0) as world:
        bad = [role_key(f"bad{number}", namespace=f"ns{number}") for number in range(100)]
        for key in bad:
            source.fail(key, access_denied)
        world.hold(*bad)
        await asyncio.sleep(30)
        before = len(source.calls)
        with contextlib.ExitStack() as requests:
            for key in bad:
                requests.enter_context(world.prefetcher.demand(key, namespace=namespace_of(key)))
            await asyncio.sleep(20)
        assert len(source.calls) - before <= 0.2 * (10 * 20 + 10)
