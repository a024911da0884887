"""Calls that never end, in real threads."""

import asyncio
import threading

import pytest

from iam4kube.credentials.call_threads import CallThreads, ThreadsStuckError
from tests.support.waiting import wait_until


async def test_result_and_exception_come_through() -> None:
    """A call in a thread is a call."""

    def fail() -> None:
        raise LookupError("not there")

    threads = CallThreads(2)
    assert await threads.run(lambda: 6 * 7, timeout=5) == 42
    with pytest.raises(LookupError, match="not there"):
        await threads.run(fail, timeout=5)
    assert threads.stuck == 0
    threads.close()


async def test_no_more_calls_at_once_than_threads() -> None:
    """The others wait for a thread, within their own time."""
    threads, running, most = CallThreads(3), [0], [0]
    lock = threading.Lock()

    def call() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.02)
        with lock:
            running[0] -= 1

    await asyncio.gather(*(threads.run(call, timeout=5) for _ in range(12)))
    assert most == [3]
    threads.close()


async def test_hung_calls_are_given_up_and_their_threads_replaced() -> None:
    """Threads that never come back are replaced a few times; then calls fail at once until some come back."""
    threads, release = CallThreads(2), threading.Event()
    for hung in range(1, 5):
        with pytest.raises(TimeoutError):
            await threads.run(release.wait, timeout=0.01)
        assert threads.stuck == hung
    with pytest.raises(ThreadsStuckError):
        await threads.run(release.wait, timeout=0.01)
    release.set()
    await wait_until(lambda: threads.stuck == 0)
    assert await threads.run(lambda: "served", timeout=5) == "served"
    threads.close()


async def test_cancelled_call_holds_its_thread_only_as_long_as_it_runs() -> None:
    """A request that goes away does not lose a thread."""
    threads, release = CallThreads(4), threading.Event()
    task = asyncio.create_task(threads.run(release.wait, timeout=5))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert threads.stuck == 1
    release.set()
    await wait_until(lambda: threads.stuck == 0)
    threads.close()
