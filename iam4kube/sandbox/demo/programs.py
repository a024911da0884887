"""The real programs, each in a process of its own. The demo knows of them what their logs and ports tell."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Self

from iam4kube.sandbox.demo.processes import end, kept_environment, piped

_START_SECONDS = 15.0
_REMEMBERED_LINES = 12


class NotReady(Exception):
    """A program ended, or did not become ready in time; says what its log says."""


class Program:
    """A replica of the server, or the router. Its ports are those that its log names."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process
        self._ready = False
        self._ports: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._last_lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)
        self._reading = asyncio.create_task(self._read(), name=f"the log of {name}")

    @classmethod
    async def start(cls, name: str, command: Sequence[str], *, environ: Mapping[str, str]) -> Self:
        """Start a program that logs JSON, with `environ` in its environment; return when it is ready.

        Raises `NotReady`.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            env=kept_environment() | dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,  # a line of the log: longer than the longest
        )
        program = cls(name, process)
        try:
            await program._until(lambda: program._ready or program._reading.done())
        except BaseException:
            await program.kill()
            raise
        if not program._ready:
            await program.kill()
            raise NotReady(f"{name} ended; its last words:\n{program.last_words}")
        return program

    @property
    def process_id(self) -> int:
        """For `nsenter`."""
        return self._process.pid

    def port(self, listener: str) -> int:
        """Where one of its listeners is: of a replica metadata, admin or debug; of the router admin."""
        return self._ports[listener]

    def url(self, listener: str) -> str:
        """The same on loopback, for a browser."""
        return f"http://127.0.0.1:{self.port(listener)}"

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self._last_lines)

    async def kill(self) -> None:
        """End it as `kill -9` does, and as its node does when it fails."""
        await end(self._process)
        await self._reading

    async def _until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            problem = f"{self._name} is not ready after {_START_SECONDS:.0f} s; its last words"
            raise NotReady(f"{problem}:\n{self.last_words}") from None

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
