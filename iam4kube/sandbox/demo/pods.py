"""Pods of the demo: each is a process with boto3 that asks one question after the other."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iam4kube.sandbox.demo.cast import Workload
from iam4kube.sandbox.demo.expectations import Unexpected
from iam4kube.sandbox.demo.processes import end, piped

POD_COMMAND = (sys.executable, str(Path(__file__).with_name("pod_program.py")))
"""What runs in a pod; takes the URL of STS as its argument."""

_ANSWER_SECONDS = 10.0
"""How long an answer may take: boto3 gives up after 1 s; the rest is a busy machine."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a pod's process was told. Times are the machine's monotonic clock, in seconds."""

    asked: float
    answered: float
    """When the metadata service had told everything."""
    result: str | None
    error: str | None

    @property
    def milliseconds(self) -> float:
        """How long the metadata service took."""
        return (self.answered - self.asked) * 1000

    def __str__(self) -> str:
        return self.error or self.result or "no credentials"


class Pod:
    """A running process in a pod."""

    def __init__(self, workload: Workload, process: asyncio.subprocess.Process) -> None:
        self.workload = workload
        self._process = process

    def __str__(self) -> str:
        return str(self.workload)

    @property
    def process_id(self) -> int:
        """For `nsenter`."""
        return self._process.pid

    async def ask(self, question: str) -> Answer:
        """Ask one question of `pod_program`. Raises `Unexpected` when no answer comes."""
        asked = await self.begin(question)
        return await self.answer(asked)

    async def begin(self, question: str) -> float:
        """Begin to ask; returns when the process did."""
        piped(self._process.stdin).write(f"{question}\n".encode())
        told = await self._next()
        if "asked" not in told:
            raise Unexpected(expected=f"{self} to ask", seen=str(told))
        asked: float = told["asked"]
        return asked

    async def answer(self, asked: float) -> Answer:
        """Wait for the answer to what was begun. Raises `Unexpected`."""
        answered = (await self._next())["answered"]
        told = await self._next()
        return Answer(asked=asked, answered=answered, result=told.get("result"), error=told.get("error"))

    async def _next(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                line = await piped(self._process.stdout).readline()
        except TimeoutError:
            raise Unexpected(expected=f"{self} to be answered", seen=f"nothing for {_ANSWER_SECONDS:.0f} s") from None
        if not line:
            raise Unexpected(expected=f"the process of {self} to go on", seen="its end")
        told: dict[str, Any] = json.loads(line)
        return told


@asynccontextmanager
async def run_pod(workload: Workload, command: Sequence[str], *, environ: Mapping[str, str]) -> AsyncIterator[Pod]:
    """A pod's process: `command` is `POD_COMMAND`, or runs it where the pod is; `environ` is all of its environment."""
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(environ), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Pod(workload, process)
    finally:
        await end(process)
