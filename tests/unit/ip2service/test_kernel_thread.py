"""The thread that talks to the kernel: what it returns, and what happens when the kernel does not answer."""

import asyncio
import threading
from functools import partial

import pytest

from ip2service.kernel.thread import KernelStuck, KernelThread, stay


@pytest.fixture
def release() -> threading.Event:
    """Lets a stuck call come back."""
    return threading.Event()


def refuse() -> None:
    """A call that fails."""
    raise OSError(1, "refused")


def give_up() -> None:
    """A call that fails by a time-out of its own."""
    raise TimeoutError("its own")


async def test_calls_run_one_after_the_other_in_one_thread() -> None:
    """The first function, every call and the last function run in the same thread, in the order they were made."""
    order: list[tuple[str, int]] = []

    def note(name: str) -> int:
        order.append((name, threading.get_ident()))
        return len(order)

    thread = KernelThread("test")
    await thread.start(lambda: order.append(("first", threading.get_ident())))
    results = await asyncio.gather(*(thread.call(partial(note, name)) for name in "abc"))
    await thread.stop(lambda: order.append(("last", threading.get_ident())))
    assert [name for name, _ in order] == ["first", "a", "b", "c", "last"]
    assert results == [2, 3, 4]
    assert len({identity for _, identity in order}) == 1
    assert threading.get_ident() not in {identity for _, identity in order}


@pytest.mark.parametrize(("function", "error"), [(refuse, OSError), (give_up, TimeoutError)])
async def test_what_a_call_raises_is_raised_to_its_caller(function: type, error: type[Exception]) -> None:
    """An exception ends the call and not the thread, a time-out of the function's own included."""
    thread = KernelThread("test")
    await thread.start(stay)
    with pytest.raises(error, match=r"refused|its own"):
        await thread.call(function)
    assert await thread.call(lambda: 5) == 5
    await thread.stop(stay)


async def test_a_first_function_that_fails_ends_the_thread() -> None:
    """Whoever starts the thread gets the exception, and no thread is left."""
    before = threading.active_count()
    with pytest.raises(OSError, match="refused"):
        await KernelThread("test").start(refuse)
    for thread in threading.enumerate():
        if thread.name == "test":
            thread.join(5)
    assert threading.active_count() == before


async def test_a_call_that_does_not_come_back_is_told_and_so_is_everyone_after_it(release: threading.Event) -> None:
    """At the deadline the caller is told; later callers at once, until the call comes back."""
    thread = KernelThread("test", deadline=0.05)
    await thread.start(stay)
    with pytest.raises(KernelStuck, match=r"no answer from the kernel for 0\.05 s"):
        await thread.call(release.wait)
    with pytest.raises(KernelStuck, match="still not come back"):
        await thread.call(lambda: 1)
    release.set()
    await answers(thread)
    await thread.stop(stay)


async def answers(thread: KernelThread) -> None:
    """Wait until it answers again."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await thread.call(stay)
            except KernelStuck:
                await asyncio.sleep(0)


async def test_a_call_that_waited_behind_a_stuck_one_is_never_made(release: threading.Event) -> None:
    """Its caller was told that it failed, so it must not happen later."""
    thread = KernelThread("test", deadline=0.05)
    await thread.start(stay)
    made: list[str] = []
    outcomes = await asyncio.gather(
        thread.call(release.wait), thread.call(lambda: made.append("late")), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [KernelStuck, KernelStuck]
    release.set()
    await answers(thread)
    await thread.stop(stay)
    assert made == []


async def test_stopping_leaves_a_stuck_thread_behind(release: threading.Event) -> None:
    """A stop does not wait for the kernel, and once the kernel answers, the thread ends."""
    thread = KernelThread("stuck", deadline=0.05)
    await thread.start(stay)
    with pytest.raises(KernelStuck):
        await thread.call(release.wait)
    await thread.stop(stay)
    stuck = next(each for each in threading.enumerate() if each.name == "stuck")
    assert stuck.daemon
    release.set()
    stuck.join(5)
    assert not stuck.is_alive()


async def test_a_cancelled_caller_leaves_the_thread_usable(release: threading.Event) -> None:
    """The function goes on to its end, its result is dropped, and the next call is made."""
    thread = KernelThread("test")
    await thread.start(stay)
    caller = asyncio.create_task(thread.call(release.wait))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    release.set()
    assert await thread.call(lambda: 7) == 7
    await thread.stop(stay)


async def test_callers_are_bounded(release: threading.Event) -> None:
    """With one call made and a hundred waiting, one more is refused at once."""
    thread = KernelThread("test")
    begun = threading.Event()

    def hang() -> None:
        begun.set()
        release.wait()

    await thread.start(stay)
    first = asyncio.create_task(thread.call(hang))
    await asyncio.to_thread(begun.wait)
    waiting = [asyncio.create_task(thread.call(stay)) for _ in range(100)]
    await asyncio.sleep(0)
    with pytest.raises(KernelStuck, match="are waiting for the kernel"):
        await thread.call(stay)
    release.set()
    await asyncio.gather(first, *waiting)
    await thread.stop(stay)
