"""Unmodified boto3 in processes of their own, each in a loopback pod."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from iam4kube.sandbox.pods import LoopbackPod
from iam4kube.sandbox.sts.server import Sts

_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("boto3_pod.py")))


class Asking:
    """A client that asks again and again: what it is told, in order."""

    def __init__(self) -> None:
        self._answers: list[dict[str, str]] = []
        self._changed = asyncio.Event()

    def take(self, line: bytes) -> None:
        self._answers.append(json.loads(line))
        self._changed.set()

    @property
    def distinct(self) -> list[dict[str, str]]:
        """The different answers so far, in the order in which they first came."""
        return [dict(pairs) for pairs in dict.fromkeys(tuple(answer.items()) for answer in self._answers)]

    async def more(self, count: int = 3, *, seconds: float = 15.0) -> None:
        """Wait until it has asked so many times more. Raises `TimeoutError`."""
        enough = len(self._answers) + count
        async with asyncio.timeout(seconds):
            while len(self._answers) < enough:
                self._changed.clear()
                await self._changed.wait()


async def caller_identity(address: str, *, port: int, sts: Sts) -> dict[str, str]:
    """Ask once from a pod at `address`, of the metadata API on `port`: `arn`, or `error`."""
    async with LoopbackPod(address, server=("127.0.0.1", port)) as pod:
        code, output = await pod.run(*_COMMAND, "1", variables=_variables(sts))
    assert code == 0, output
    answer: dict[str, str] = json.loads(output)
    return answer


@asynccontextmanager
async def asking(address: str, *, port: int, sts: Sts) -> AsyncIterator[Asking]:
    """Keep asking from a pod at `address`, about five times a second, from the first answer to the end."""
    answers = Asking()
    async with LoopbackPod(address, server=("127.0.0.1", port)) as pod:
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            "0",
            env=pod.environment(_variables(sts)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        reading = asyncio.create_task(_read(process, answers))
        try:
            await answers.more(1)
            yield answers
        finally:
            process.kill()
            await reading
            await process.wait()


async def _read(process: asyncio.subprocess.Process, answers: Asking) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        if line.endswith(b"\n"):  # else it was killed while it wrote
            answers.take(line)


def _variables(sts: Sts) -> dict[str, str]:
    return {"AWS_DEFAULT_REGION": sts.region, "AWS_ENDPOINT_URL_STS": sts.url}
