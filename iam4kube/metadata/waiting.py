"""Requests that have to wait: how many at a time, and until when.

A warm answer never comes here. A waiting one costs a task that notices when its client hangs up.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from iam4kube.kube.objects import Address
from iam4kube.metadata.limits import Quota, WaitingLimits
from iam4kube.runtime.asgi import Receive

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed its connection while it waited."""


class TooManyWaiting(Exception):
    """There is no room for one more waiting request, in total or of this address."""


class WaitingRoom:
    """Bounds the waiting requests, in total and by source address."""

    def __init__(self, limits: WaitingLimits) -> None:
        self._quota = Quota(total=limits.total, per_source=limits.per_source)

    def __len__(self) -> int:
        return len(self._quota)

    @contextlib.contextmanager
    def seat(self, source: Address) -> Iterator[None]:
        """Room for one waiting request. Raises `TooManyWaiting`."""
        if not self._quota.admit(source):
            raise TooManyWaiting
        try:
            yield
        finally:
            self._quota.release(source)


async def unless_gone(answer: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Await `answer`; when the client hangs up first, cancel it and raise `ClientGone`. Leaves nothing behind."""
    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(_hang_up(receive))
            result = await answer
            watcher.cancel()
    except BaseExceptionGroup as group_error:
        raise _alone(group_error) from None
    return result


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise ClientGone


def _alone(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure of a group: what `answer` raised, or that the client has gone."""
    return group.exceptions[0]
