"""A command that runs to its end, and what it said."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    """A command's exit code and its output."""

    code: int
    output: str
    errors: str


async def run_to_end(
    *command: str,
    environment: Mapping[str, str],
    folder: Path | None = None,
    errors_apart: bool = True,
    seconds: float = 30.0,
) -> Ended:
    """Run a command with this environment and nothing on its input. Raises `TimeoutError` after killing it.

    Without `errors_apart`, its errors stand in its output, where they came.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if errors_apart else asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(), (errors or b"").decode())
