"""A bounded pool of threads for calls that block, and that can hang in spite of their own time-outs.

botocore's read time-out bounds each read, not the answer: one that trickles in never ends. Nobody can stop a
thread, so a call that takes too long is given up and its thread counts as stuck until it ends by itself. When
half of the threads are stuck the pool is replaced, a few times; then calls fail until threads come back.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

_POOLS_AT_MOST = 4


class ThreadsStuckError(TimeoutError):
    """Calls that never end hold all threads."""


class CallThreads:
    """At most `size` calls at once. Belongs to one event loop."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._stuck: Counter[ThreadPoolExecutor] = Counter()
        self._pool = self._new_pool()

    async def run(self, call: Callable[[], Result], *, timeout: float) -> Result:
        """Run a call in a thread and return its result. Raises TimeoutError after `timeout` seconds."""
        pool = self._usable_pool()
        future = pool.submit(call)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(future)
        finally:
            if future.running():
                self._watch_stuck(future, pool)

    def close(self) -> None:
        """Take no more calls. Those under way end by themselves, or with the process, which waits for no thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def stuck(self) -> int:
        """Threads whose call was given up and has not ended."""
        return self._stuck.total()

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._size, thread_name_prefix="sts")

    def _usable_pool(self) -> ThreadPoolExecutor:
        if 2 * self._stuck[self._pool] >= self._size:
            if self.stuck >= _POOLS_AT_MOST * self._size / 2:
                raise ThreadsStuckError("calls to STS that never end hold all threads")
            self._pool.shutdown(wait=False)
            self._pool = self._new_pool()
        return self._pool

    def _watch_stuck(self, future: Future[Result], pool: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        self._stuck[pool] += 1

        def ended(_: Future[Result]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody counts any more
                loop.call_soon_threadsafe(self._unstick, pool)

        future.add_done_callback(ended)

    def _unstick(self, pool: ThreadPoolExecutor) -> None:
        self._stuck[pool] -= 1
        if not self._stuck[pool]:
            del self._stuck[pool]
