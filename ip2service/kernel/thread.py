"""One thread that talks to the kernel, so that the event loop never waits for it.

One, because a libnftables context and a netlink socket answer one question at a time; a thread, because both block.
A call into the kernel cannot be cancelled. One that does not come back keeps its thread; the caller is told, and so
is everyone after it until the call does come back. The thread is a daemon: it cannot keep the process from ending.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from ip2service.kernel_protocols import KernelError

Result = TypeVar("Result")

CALL_SECONDS: Final = 10.0
"""For one call. The slowest of ours takes 15 ms beside 5,000 Services; a program that writes all of those at once
holds nftables' lock for about a second."""
_WAITING_LIMIT = 100  # calls; each has a task that waits for its answer, and there are a handful of those


class KernelStuck(KernelError):
    """A call into the kernel has not come back within its deadline."""


def stay() -> None:
    """Stay in the network namespace of the process."""


class KernelThread:
    """Runs functions one after the other in a thread of its own. Belongs to one event loop."""

    def __init__(self, name: str, *, deadline: float = CALL_SECONDS) -> None:
        """`deadline`: seconds for a call, waiting for earlier ones included."""
        self._name = name
        self._deadline = deadline
        self._calls: queue.Queue[tuple[Callable[[], Any], Future[Any]] | None] = queue.Queue(_WAITING_LIMIT)
        self._stuck: Future[Any] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def start(self, first: Callable[[], None]) -> None:
        """Start the thread with a first function, which makes what the others use. Raises what that one raises."""
        self._thread.start()
        try:
            await self.call(first)
        except BaseException:
            self._end()
            raise

    async def stop(self, last: Callable[[], None]) -> None:
        """Run a last function, which lets go of what the first one made, and end the thread.

        A thread that is stuck is left behind, and ends when its call comes back.
        """
        try:
            await self.call(last)
        except KernelStuck:
            return
        finally:
            self._end()
        self._thread.join()  # it has nothing more to do: microseconds

    async def call(self, function: Callable[[], Result]) -> Result:
        """What the function returns, or raises. Raises `KernelStuck`.

        If the caller is cancelled, a function that has begun goes on to its end, and its result is dropped.
        """
        if self._stuck is not None and not self._stuck.done():
            raise KernelStuck(f"{self._name}: an earlier call into the kernel has still not come back")
        future: Future[Result] = Future()
        deadline = asyncio.timeout(self._deadline)
        try:
            self._calls.put_nowait((function, future))
            async with deadline:
                return await asyncio.wrap_future(future)
        except queue.Full:
            raise KernelStuck(f"{self._name}: {_WAITING_LIMIT} calls are waiting for the kernel") from None
        except TimeoutError:
            if not deadline.expired():
                raise  # the function's own
            self._stuck = future
            raise KernelStuck(f"{self._name}: no answer from the kernel for {self._deadline:g} s") from None

    def _end(self) -> None:
        with contextlib.suppress(queue.Full):  # stuck, with a hundred calls behind: it ends with the process
            self._calls.put_nowait(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, future = call
            if future.set_running_or_notify_cancel():
                _settle(function, future)
            del call, function, future  # they refer to what the last function lets go of


def _settle(function: Callable[[], Result], future: Future[Result]) -> None:
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001  # it is raised where the call was made
        future.set_exception(error)
    else:
        future.set_result(result)
