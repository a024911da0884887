"""Waits: who is woken, when, and what is left behind."""

import asyncio
from collections.abc import Hashable

import pytest

from iam4kube.runtime.waits import Waits, WaitsClosed

pytestmark = pytest.mark.looptime


class CountingKey:
    """A key that counts how often it is looked at."""

    def __init__(self) -> None:
        self.looks = 0

    def __hash__(self) -> int:
        self.looks += 1
        return id(self)

    def __eq__(self, other: object) -> bool:
        self.looks += 1
        return self is other


async def woken_at(waits: Waits, *keys: Hashable, deadline: float = 15) -> float:
    """Wait for any of `keys`, and return the loop's time then."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout_at(deadline):
        await waits.wait(keys)
    return loop.time()


def assert_nothing_left(waits: Waits) -> None:
    """Neither a count nor a key."""
    assert len(waits) == 0
    assert waits._waiting == {}


async def test_a_wait_ends_at_the_very_moment_its_key_is_woken() -> None:
    """No polling: the waiter runs at the same reading of the clock as the wake."""
    waits = Waits()
    async with asyncio.TaskGroup() as group:
        waiter = group.create_task(woken_at(waits, "10.0.0.7"))
        await asyncio.sleep(3.25)
        waits.wake("10.0.0.7")
    assert waiter.result() == 3.25
    assert_nothing_left(waits)


async def test_any_of_several_keys_ends_a_wait() -> None:
    """A request waits for whatever could change its answer, and forgets the other keys once one of them has."""
    waits = Waits()
    async with asyncio.TaskGroup() as group:
        waiter = group.create_task(woken_at(waits, "address", "account", "role"))
        await asyncio.sleep(1)
        waits.wake("account")
    assert waiter.result() == 1
    assert_nothing_left(waits)


async def test_r13_an_event_wakes_only_its_own_waiters() -> None:
    """Ten thousand requests wait, each for its own address: one event answers one of them."""
    waits = Waits()
    waiters = {number: asyncio.create_task(woken_at(waits, number, deadline=100)) for number in range(10_000)}
    await asyncio.sleep(1)
    waits.wake(7)
    await asyncio.sleep(1)
    assert [number for number, waiter in waiters.items() if waiter.done()] == [7]
    assert waiters.pop(7).result() == 1
    for number in waiters:
        waits.wake(number)
    assert set(await asyncio.gather(*waiters.values())) == {2}
    assert_nothing_left(waits)


async def test_r13_an_event_costs_nothing_per_other_waiter() -> None:
    """Neither the key of another waiter is looked at, nor is anything scheduled for it."""
    waits = Waits()
    others = [CountingKey() for _ in range(1000)]
    waiters = [asyncio.create_task(woken_at(waits, key)) for key in others]
    await asyncio.sleep(1)
    before = [key.looks for key in others]
    waits.wake("somebody else's")
    waits.wake(CountingKey())
    await asyncio.sleep(0)
    assert [key.looks for key in others] == before
    assert not any(waiter.done() for waiter in waiters)
    waits.close()
    assert all(isinstance(end, WaitsClosed) for end in await asyncio.gather(*waiters, return_exceptions=True))


async def test_all_waiters_of_a_key_are_woken_at_once() -> None:
    """A pod's containers ask side by side."""
    waits = Waits()
    waiters = [asyncio.create_task(woken_at(waits, "10.0.0.7")) for _ in range(5)]
    await asyncio.sleep(2)
    waits.wake("10.0.0.7")
    assert await asyncio.gather(*waiters) == [2] * 5


async def test_a_woken_waiter_may_wait_again_and_is_woken_again() -> None:
    """Whoever is woken evaluates again, and may find that it has to wait for the same key once more."""
    waits = Waits()

    async def wait_twice() -> list[float]:
        return [await woken_at(waits, "key"), await woken_at(waits, "key")]

    waiter = asyncio.create_task(wait_twice())
    await asyncio.sleep(1)
    waits.wake("key")
    await asyncio.sleep(1)
    waits.wake("key")
    assert await waiter == [1, 2]
    assert_nothing_left(waits)


async def test_a_late_waiter_of_a_woken_key_is_not_forgotten_with_the_earlier_ones() -> None:
    """It registers between the wake and the first waiter's clean-up, and must survive that clean-up."""
    waits = Waits()
    early = asyncio.create_task(woken_at(waits, "key"))
    await asyncio.sleep(0)
    late = asyncio.create_task(woken_at(waits, "key"))
    waits.wake("key")
    await early
    assert waits.is_waited_for("key")
    waits.wake("key")
    assert await late == 0
    assert_nothing_left(waits)


async def test_waking_several_keys_of_one_waiter_is_waking_it_once() -> None:
    """A relist touches an address and its ServiceAccount in the same step."""
    waits = Waits()
    waiter = asyncio.create_task(woken_at(waits, "address", "account", "account"))
    await asyncio.sleep(1)
    waits.wake("address")
    waits.wake("account")
    waits.wake("address")
    assert await waiter == 1
    assert_nothing_left(waits)


async def test_a_wake_with_nobody_waiting_is_not_remembered() -> None:
    """State is the owner's: a wait that begins after the change has evaluated the change already."""
    waits = Waits()
    waits.wake("key")
    with pytest.raises(TimeoutError):
        await woken_at(waits, "key", deadline=5)
    assert asyncio.get_running_loop().time() == 5


async def test_a_deadline_ends_a_wait_exactly_and_leaves_nothing_behind() -> None:
    """The request's deadline, not the wait's."""
    waits = Waits()
    with pytest.raises(TimeoutError):
        await woken_at(waits, "a", "b", deadline=15)
    assert asyncio.get_running_loop().time() == 15
    assert_nothing_left(waits)


async def test_a_cancelled_wait_leaves_the_others_of_its_key_waiting() -> None:
    """A client that hangs up takes nobody with it."""
    waits = Waits()
    gone = asyncio.create_task(woken_at(waits, "key", "other"))
    staying = asyncio.create_task(woken_at(waits, "key"))
    await asyncio.sleep(1)
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    assert len(waits) == 1
    assert not waits.is_waited_for("other")
    waits.wake("key")
    assert await staying == 1
    assert_nothing_left(waits)


async def test_a_waiter_cancelled_in_the_same_step_as_it_is_woken_leaves_nothing_behind() -> None:
    """The client hangs up while its answer is on the way."""
    waits = Waits()
    waiter = asyncio.create_task(woken_at(waits, "key"))
    await asyncio.sleep(1)
    waits.wake("key")
    waiter.cancel()
    await asyncio.wait([waiter])
    assert waiter.cancelled()
    assert_nothing_left(waits)


async def test_a_key_that_cannot_be_one_leaves_nothing_behind() -> None:
    """Not even the keys before it: an error in the program must not become a leak."""
    waits = Waits()
    with pytest.raises(TypeError):
        await waits.wait(["fine", ("holds a list", [])])
    assert_nothing_left(waits)


async def test_close_ends_every_wait_at_once_and_each_later_one() -> None:
    """Shutdown does not wait for deadlines."""
    waits = Waits()
    waiters = [asyncio.create_task(woken_at(waits, key, "shared")) for key in "abc"]
    await asyncio.sleep(2)
    waits.close()
    ends = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(end) for end in ends] == [WaitsClosed] * 3
    with pytest.raises(WaitsClosed):
        await waits.wait(["later"])
    assert asyncio.get_running_loop().time() == 2
    assert_nothing_left(waits)


async def test_a_waiter_woken_before_the_close_still_gets_to_evaluate() -> None:
    """What was found just before shutdown is answered."""
    waits = Waits()
    waiter = asyncio.create_task(woken_at(waits, "key"))
    await asyncio.sleep(1)
    waits.wake("key")
    waits.close()
    assert await waiter == 1
    waits.wake("key")
    assert_nothing_left(waits)
