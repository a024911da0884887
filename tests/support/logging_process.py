"""A process that logs JSON on its standard error, and whose log tells a test what has happened in it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any


class LoggingProcess:
    """Follows one process at a time."""

    def __init__(self, name: str, *, seconds_to_end: float) -> None:
        """`name` is for errors; `seconds_to_end` is how long an end may take."""
        self._name = name
        self._seconds_to_end = seconds_to_end
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.log: list[dict[str, Any]] = []
        """The lines of the present process, or of the last one."""
        self.output: list[str] = []
        """The same as text, with whatever is no JSON."""

    def follow(self, process: asyncio.subprocess.Process) -> None:
        """Read the log of a process that has just been started with a pipe for it. The log begins anew."""
        self.log, self.output = [], []
        self._process = process
        self._reading = asyncio.create_task(self._read(process), name=f"the log of {self._name}")
        self._reading.add_done_callback(lambda _: self._changed.set())

    def raise_if_ended(self) -> None:
        """Raise `RuntimeError` when nothing more will come."""
        if self._reading is None or self._reading.done():
            raise RuntimeError(f"{self._name} has ended:\n" + "\n".join(self.output))

    async def until(self, condition: Callable[[], object], *, seconds: float = 15.0) -> None:
        """Wait for what the log tells. Raises `TimeoutError`, or `RuntimeError` when the process ends first."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.raise_if_ended()
                self._changed.clear()
                await self._changed.wait()

    def logged(self, message: str, **fields: object) -> list[dict[str, Any]]:
        """The lines with this message and these fields."""
        return [line for line in self.log if line["message"] == message and fields.items() <= line.items()]

    async def kill(self) -> None:
        """SIGKILL, and wait for its end. Nothing, where it does not run."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self.exit_code()

    async def exit_code(self) -> int:
        """Wait for its end; returns the exit code. Raises `TimeoutError`."""
        process, reading = self._running, self._reading
        assert reading is not None
        async with asyncio.timeout(self._seconds_to_end):
            await reading
            code = await process.wait()
        self._process = None
        return code

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, f"{self._name} does not run"
        return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self._take(line.decode().rstrip())
            self._changed.set()

    def _take(self, line: str) -> None:
        self.output.append(line)
        try:
            self.log.append(json.loads(line))
        except ValueError:
            return
