"""The life of a program: a stop at any moment of it, in order and bounded."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from iam4kube.runtime.lifecycle import StopStep, run_until
from iam4kube.runtime.tasks import Supervisor, TaskDied

pytestmark = pytest.mark.looptime


class Program:
    """Takes its time to start and to end, and notes what happens to it."""

    def __init__(self, *, start: float = 0.0, end: float = 0.0) -> None:
        """Both in seconds."""
        self.seen: list[str] = []
        self._start = start
        self._end = end

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Sequence[StopStep]]:
        """Open, start, and close whatever happens."""
        self.seen.append("opened")
        try:
            await asyncio.sleep(self._start)
            self.seen.append("started")
            yield [StopStep("drain", self._drain, bound=21)]
        finally:
            await asyncio.sleep(self._end)
            self.seen.append("closed")

    async def _drain(self) -> None:
        await asyncio.sleep(20)
        self.seen.append("drained")


def stop_after(seconds: float) -> asyncio.Event:
    """What a signal sets."""
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    return stop


def now() -> float:
    """Seconds since the test began."""
    return asyncio.get_running_loop().time()


async def test_a_program_that_runs_ends_by_its_steps_and_is_closed_then() -> None:
    """What serves the last requests is there until they are answered."""
    program = Program(start=1)
    await run_until(stop_after(100), program.running())
    assert program.seen == ["opened", "started", "drained", "closed"]
    assert now() == 120


async def test_a_stop_cancels_a_start_and_closes_what_it_opened() -> None:
    """At once: there is nothing to drain."""
    program = Program(start=150)
    await run_until(stop_after(3), program.running())
    assert program.seen == ["opened", "closed"]
    assert now() == 3


@pytest.mark.parametrize("start", [0, 150])
async def test_closing_is_bounded(start: float, caplog: pytest.LogCaptureFixture) -> None:
    """What has not ended by then ends with the process."""
    caplog.set_level(logging.INFO)
    program = Program(start=start, end=1000)
    await run_until(stop_after(3), program.running())
    assert now() == pytest.approx(3.9 if start else 23.9)
    last = caplog.records[-1].__dict__
    assert (last["step"], last["outcome"]) == ("the rest", "cancelled at its bound")
    await asyncio.sleep(1000)  # the process would be gone


@pytest.mark.parametrize("dies_after", [2, 6])
async def test_a_task_that_dies_ends_the_program_before_the_stop_and_during_its_steps(dies_after: float) -> None:
    """As ever: no half-alive process."""
    program = Program()

    @asynccontextmanager
    async def running() -> AsyncIterator[Sequence[StopStep]]:
        async with program.running() as steps, Supervisor() as tasks:
            tasks.start("watch", asyncio.sleep(dies_after))
            yield steps

    with pytest.raises(ExceptionGroup) as raised:
        await run_until(stop_after(4), running())
    assert raised.group_contains(TaskDied)
    assert (program.seen, now()) == (["opened", "started", "closed"], dies_after)


async def test_a_mistake_at_the_start_is_raised() -> None:
    """The command line tells it."""

    @asynccontextmanager
    async def mistaken() -> AsyncIterator[Sequence[StopStep]]:
        raise LookupError("no region")
        yield []

    with pytest.raises(LookupError, match="no region"):
        await run_until(stop_after(4), mistaken())
