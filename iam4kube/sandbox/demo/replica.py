"""The real server, `iam4kube serve`, in a process of its own. The demo knows of it what its log and ports tell."""

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Self

from iam4kube.sandbox.demo.processes import end, piped

_START_SECONDS = 15.0
_REMEMBERED_LINES = 12
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")


class NotReady(Exception):
    """The server ended, or did not become ready in time; says what its log says."""


class Replica:
    """One replica. Its addresses are those that its log names."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ready = False
        self._ports: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._last_lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)
        self._reading = asyncio.create_task(self._read(), name="the replica's log")

    @classmethod
    async def start(cls, flags: Sequence[str], *, environ: Mapping[str, str]) -> Self:
        """Start a replica, with `environ` in its environment; return when it is ready. Raises `NotReady`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iam4kube", "serve", "--log-format=json", *flags),
            env={name: os.environ[name] for name in _KEPT if name in os.environ} | dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,  # a line of the log: longer than the longest
        )
        replica = cls(process)
        try:
            await replica._until(lambda: replica._ready or replica._reading.done())
        except BaseException:
            await replica.kill()
            raise
        if not replica._ready:
            await replica.kill()
            raise NotReady(f"iam4kube serve ended; its last words:\n{replica.last_words}")
        return replica

    @property
    def metadata(self) -> tuple[str, int]:
        """Where the metadata API listens."""
        return "127.0.0.1", self._ports["metadata"]

    def url(self, listener: str) -> str:
        """Where one of its listeners is: metadata, admin or debug."""
        return f"http://127.0.0.1:{self._ports[listener]}"

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self._last_lines)

    async def kill(self) -> None:
        """End it as `kill -9` does, and the node that it runs on."""
        await end(self._process)
        await self._reading

    async def _until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise NotReady(f"not ready after {_START_SECONDS:.0f} s; its last words:\n{self.last_words}") from None

    async def _read(self) -> None:
        try:
            async for line in piped(self._process.stderr):
                self._take(line.decode(errors="replace").rstrip())
                self._changed.set()
        finally:
            self._changed.set()

    def _take(self, line: str) -> None:
        self._last_lines.append(line)
        with suppress(ValueError, KeyError):  # not one of ours: a traceback, a library's line
            entry = json.loads(line)
            self._ready = self._ready or entry["message"] == "Ready"
            if entry["message"] == "Listening":
                self._ports[entry["listener"]] = entry["port"]
