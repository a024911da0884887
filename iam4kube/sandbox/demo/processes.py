"""Processes that the demo starts: it holds their pipes, and ends them."""

import asyncio
from typing import TypeVar

Stream = TypeVar("Stream", asyncio.StreamReader, asyncio.StreamWriter)


def piped(stream: Stream | None) -> Stream:
    """A stream of a process that was started with a pipe for it."""
    if stream is None:
        raise ValueError("the process was started without a pipe for this stream")
    return stream


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process at once, if it still runs, and wait for it."""
    if process.returncode is None:
        process.kill()
    await process.wait()
