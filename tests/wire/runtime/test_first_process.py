"""SIGTERM while a program is still being imported, by the first process of a PID namespace: of a container."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

# In the place of a library that both programs import only when they are about to run.
STALLED_IMPORT = """
import sys, time
print("importing", file=sys.stderr, flush=True)
time.sleep(50)
"""


@asynccontextmanager
async def importing(module: str, *arguments: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`unshare`, whose child is process 1 of a namespace and imports for ever; it dies with `unshare`."""
    (folder / "uvloop.py").write_text(STALLED_IMPORT)
    python_path = f"{folder}:{os.environ.get('PYTHONPATH', '')}"
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", module, *arguments),
        env={**os.environ, "PYTHONPATH": python_path},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(15):
            assert await process.stderr.readline() == b"importing\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def only_child(process: asyncio.subprocess.Process) -> int:
    """The process that it has started."""
    [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


@pytest.mark.parametrize(
    "arguments", [("iam4kube", "serve", "--token-key-file=/nowhere"), ("ip2service", "run", "--node-name=a")]
)
async def test_sigterm_during_the_imports_ends_a_container(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """The kernel would drop it if nobody had installed a handler. Nothing was done: the exit code is 143."""
    async with importing(*arguments, folder=tmp_path) as process:
        os.kill(only_child(process), signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await process.wait() == 128 + signal.SIGTERM
