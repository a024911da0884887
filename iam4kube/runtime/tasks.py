"""Eternal tasks and their owner.

A watch, a refresher, an event sender: each should run until the process stops. One that returns or raises
has left its work undone, and a process without it looks alive and serves ever older answers. So its death
ends the process, which the kubelet starts again.
"""

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

logger = logging.getLogger(__name__)


class TaskDied(Exception):
    """An eternal task ended by itself. Its cause, if it has one, is the exception's cause."""


async def supervise(name: str, coroutine: Coroutine[Any, Any, object]) -> None:
    """Run an eternal task. Raises `TaskDied`, logged, when it ends in any other way than being cancelled."""
    try:
        await coroutine
    except Exception as error:
        logger.exception("Eternal task failed", extra={"task": name})
        raise TaskDied(name) from error
    logger.error("Eternal task returned", extra={"task": name})
    raise TaskDied(name)


class Supervisor:
    """Owns the eternal tasks of a process or of a part of it.

    Use as an asynchronous context manager. Where the body ends, the tasks are cancelled, the last started
    first, and awaited. Where a task dies, the body is cancelled and `async with` raises an `ExceptionGroup`
    of `TaskDied`.
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    def start(self, name: str, coroutine: Coroutine[Any, Any, object]) -> None:
        """Start an eternal task. `name` is for logs, and for `stop`."""
        task = self._group.create_task(supervise(name, coroutine), name=name)
        # A task cancelled before its first step never awaits its coroutine, which Python then warns of.
        task.add_done_callback(lambda _: coroutine.close())
        self._tasks[name] = task

    async def stop(self, name: str) -> None:
        """Cancel the task started under this name. Returns once it has ended."""
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in reversed(self._tasks.values()):
            task.cancel()
        await self._group.__aexit__(kind, error, traceback)
