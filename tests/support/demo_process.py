"""The demo as a process whose output is read while it runs."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager


@asynccontextmanager
async def running(
    *arguments: str, under: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process whose output, errors included, is piped; killed at the end if it still runs.

    `under` is a command that runs it; `environ` is added to its environment.
    """
    process = await asyncio.create_subprocess_exec(
        *under,
        sys.executable,
        *arguments,
        env={**os.environ, **(environ or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def read_until(process: asyncio.subprocess.Process, words: str) -> str:
    """What the process writes, up to the line with these words."""
    assert process.stdout is not None
    text = ""
    async with asyncio.timeout(30):
        while words not in text:
            line = (await process.stdout.readline()).decode()
            assert line, f"the output ends before {words!r}:\n{text}"
            text += line
    return text
