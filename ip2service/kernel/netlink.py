"""The thread for what pyroute2 asks the kernel, and its refusals as one exception.

pyroute2 runs an event loop of its own for each call, so calls are synchronous here and run in a thread: the kernel
works during the call, and may wait for the routing lock. A socket is opened for each job (1 ms) and closed after it,
which leaves nothing behind whatever happened to the last one.
"""

import errno
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from pyroute2.netlink.exceptions import NetlinkError

from ip2service.kernel.thread import CALL_SECONDS, KernelThread, stay
from ip2service.kernel_protocols import KernelError

Result = TypeVar("Result")

_LACKING: Final = "; this kernel lacks it: load its module, or leave that family out of --intercept-address"
_REMEDIES: Final = {
    errno.EPERM: "; the capability NET_ADMIN is missing: grant it",
    errno.EAFNOSUPPORT: _LACKING,
    errno.EOPNOTSUPP: _LACKING,
    errno.EPROTONOSUPPORT: _LACKING,
    errno.EEXIST: "; there is one that the kernel takes for the same: delete it, or choose another --rule-priority",
}


class NetlinkRefused(KernelError):
    """The kernel refused a request. The message says which, and the remedy where it is known."""


class Netlink:
    """Runs jobs that use pyroute2, one after the other. An asynchronous context manager."""

    def __init__(self, *, enter: Callable[[], None] = stay, deadline: float = CALL_SECONDS) -> None:
        """`enter` is called first in the thread: sockets stay in the network namespace that their thread was in.

        `deadline`: seconds for a job.
        """
        self._thread = KernelThread("netlink", deadline=deadline)
        self._enter = enter

    async def __aenter__(self) -> Self:
        await self._thread.start(self._enter)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._thread.stop(stay)

    async def run(self, what: str, job: Callable[[], Result]) -> Result:
        """What the job returns. `what` names it in a refusal. Raises `NetlinkRefused`, `KernelStuck`."""
        try:
            return await self._thread.call(job)
        except (NetlinkError, OSError) as error:
            number, words = (error.args[0], error.args[-1]) if error.args else (0, type(error).__name__)
            raise NetlinkRefused(f"{what}: {words}{_REMEDIES.get(number, '')}") from error
