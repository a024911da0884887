"""Waiting for what tells nobody when it changes: another process, a thread, the kernel."""

import asyncio
from collections.abc import Awaitable, Callable


async def wait_until(condition: Callable[[], bool], *, seconds: float = 15.0, every: float = 0.002) -> None:
    """Let the loop run until something holds. Raises `TimeoutError` when it never does."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # for what sets no event
            await asyncio.sleep(every)


async def eventually(condition: Callable[[], Awaitable[object]], *, seconds: float = 15.0, every: float = 0.02) -> None:
    """Wait until something is true of the kernel or of another process, which is asked. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # likewise
            await asyncio.sleep(every)
