"""The processes of a measurement: pinned to a core each, and ended by whoever started them."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from iam4kube.sandbox.network import Namespace

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
"""The core of whatever is measured."""
OTHER_CORE = _CORES[-1]
"""The core of everything else; with a single core, the same."""

_READY_SECONDS = 20.0
_STOP_SECONDS = 10.0


def pin(core: int) -> None:
    """Keep this process, and all that it starts, on one core."""
    os.sched_setaffinity(0, {core})


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Start processes on this core within the block."""
    before = os.sched_getaffinity(0)
    pin(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def process(
    arguments: Sequence[str],
    *,
    core: int,
    environ: Mapping[str, str] | None = None,
    log: Path,
    namespace: Namespace | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m` with these arguments for as long as the block runs; standard error goes to `log`.

    In this process' own network namespace, or in another.
    """
    command = (sys.executable, "-m", *arguments)
    with log.open("wb") as errors, pinned(core):
        child = await asyncio.create_subprocess_exec(
            *(namespace.command(*command) if namespace else command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **(environ or {})},
        )
    try:
        yield child
    finally:
        await _end(child)


async def first_line(child: asyncio.subprocess.Process, log: Path) -> Any:
    """The JSON that a process of ours prints once it is ready. Raises `RuntimeError` with its log if it ends first."""
    assert child.stdout is not None
    async with asyncio.timeout(_READY_SECONDS):
        line = await child.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the measurement ended: {last_words(log)}")
    return json.loads(line)


def last_words(log: Path) -> str:
    """The end of a process's log."""
    return log.read_text()[-2000:]


async def _end(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used so far, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def main_thread_seconds(pid: int) -> float:
    """Processor time that a process's first thread, that of the event loop, has used so far; to the nanosecond."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def resident_mebibytes(pid: int) -> tuple[float, float]:
    """Memory of a process that is resident now, and the most that ever was."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    now, most = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most
