"""Processes that the demo starts: it holds their pipes, and ends them."""

import asyncio
import os
from typing import TypeVar

Stream = TypeVar("Stream", asyncio.StreamReader, asyncio.StreamWriter)


_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")


def kept_environment() -> dict[str, str]:
    """What such a process has of the environment of whoever runs the demo: nothing of AWS, and no proxies."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


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
