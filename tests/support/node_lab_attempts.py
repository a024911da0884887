"""Tens of thousands of connections from a pod while something happens to the node, counted by who answered.

    async with attempting(lab.pod("a"), METADATA_IPV4, 80, most=50_000) as attempts:
        ...  # whatever may leak
        await attempts.until(50_000)
    assert attempts.answers == {"one": 50_000}
    assert not await lab.arrivals()

A process of its own connects, about 20,000 times a second on an idle machine.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support import node_lab_connector
from tests.support.node_lab import LabHost

SILENCE = "silence"
"""Among `failures`: neither an answer nor an error within the time-out."""


class Attempts:
    """What came of them so far. Read it at any time, and after their end."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        """Who answered how often; an empty name: connected, and closed without an answer."""
        self.failures: Counter[str] = Counter()
        """How many ended with this error, such as ECONNREFUSED, or in `SILENCE`."""
        self.slowest = 0.0
        """The longest time, in seconds, until an answer or an error; silence left out."""
        self._changed = asyncio.Event()
        self._ended = False

    @property
    def total(self) -> int:
        """How many have ended."""
        return self.answers.total() + self.failures.total()

    async def until(self, total: int, *, timeout: float = 60.0) -> None:
        """Wait until so many have ended. Raises `TimeoutError`, `EOFError` when there will be no more."""
        async with asyncio.timeout(timeout):
            while self.total < total:
                if self._ended:
                    raise EOFError(f"the process ended after {self.total} attempts")
                self._changed.clear()
                await self._changed.wait()

    async def follow(self, reports: asyncio.StreamReader) -> None:
        """Take over reports until there are no more."""
        async for line in reports:
            report = json.loads(line)
            self.answers, self.failures = Counter(report["answers"]), Counter(report["failures"])
            self.slowest = report["slowest"]
            self._changed.set()
        self._ended = True
        self._changed.set()


@asynccontextmanager
async def attempting(
    pod: LabHost,
    address: str,
    port: int,
    *,
    most: int = 100_000,
    at_once: int = 32,
    seconds: float = 50.0,
    timeout: float = 1.0,
) -> AsyncIterator[Attempts]:
    """Connect to an address from a pod until the block ends, `most` times or so many seconds at most.

    `at_once` are under way at any time; `timeout` is the patience of one, in seconds.
    """
    numbers = (port, at_once, most, seconds, timeout)
    process = await asyncio.create_subprocess_exec(
        *pod.namespace.command(sys.executable, "-I", node_lab_connector.__file__, address, *map(str, numbers)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    attempts = Attempts()
    following = asyncio.create_task(attempts.follow(process.stdout))
    try:
        yield attempts
        process.stdin.close()  # which ends it, with a last report
        async with asyncio.timeout(timeout + 5.0):
            await following
    finally:
        following.cancel()
        await asyncio.wait([following])
        if process.returncode is None:
            process.kill()
        await process.wait()
