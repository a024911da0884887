"""The ordered stop: each step bounded, none able to keep the later ones from running."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from iam4kube.runtime.lifecycle import StopStep, run_stop_steps

pytestmark = pytest.mark.looptime


def take(seconds: float, ended: list[str], name: str) -> Callable[[], Awaitable[None]]:
    """A step that takes this long, and notes its name when it gets to its end."""

    async def action() -> None:
        await asyncio.sleep(seconds)
        ended.append(name)

    return action


async def break_down() -> None:
    """A step with a defect."""
    raise LookupError("the defect")


def outcomes(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, float]]:
    """Step, outcome and seconds of each line about a step's end."""
    fields = [record.__dict__ for record in caplog.records if record.getMessage() == "Stop step ended"]
    return [(each["step"], each["outcome"], each["seconds"]) for each in fields]


async def test_steps_run_one_after_the_other_and_are_logged_with_their_duration(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requests are answered until the listener closes, watches run until nobody asks."""
    caplog.set_level(logging.INFO)
    ended: list[str] = []
    await run_stop_steps(
        [
            StopStep("drain", take(20, ended, "drain"), bound=21),
            StopStep("close", take(1.5, ended, "close"), bound=15),
        ]
    )
    assert ended == ["drain", "close"]
    assert outcomes(caplog) == [("drain", "done", 20), ("close", "done", 1.5)]
    assert asyncio.get_running_loop().time() == 21.5


async def test_a_step_is_cancelled_at_its_bound_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    """The sum of the bounds is what the grace period has to cover."""
    caplog.set_level(logging.INFO)
    ended: list[str] = []
    await run_stop_steps(
        [
            StopStep("hangs", take(1000, ended, "hangs"), bound=15),
            StopStep("after", take(0, ended, "after"), bound=1),
        ]
    )
    assert ended == ["after"]
    assert outcomes(caplog) == [("hangs", "cancelled at its bound", 15), ("after", "done", 0)]


async def test_a_step_that_fails_is_logged_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    """A defect in one part must not leave the others unstopped."""
    caplog.set_level(logging.INFO)
    ended: list[str] = []
    await run_stop_steps([StopStep("broken", break_down, bound=5), StopStep("after", take(0, ended, "after"), bound=1)])
    assert ended == ["after"]
    assert outcomes(caplog) == [("broken", "failed", 0), ("after", "done", 0)]
    failure = next(record for record in caplog.records if record.getMessage() == "Stop step failed")
    assert failure.exc_info is not None


async def test_a_time_out_inside_a_step_is_a_failure_and_not_its_bound(caplog: pytest.LogCaptureFixture) -> None:
    """The log must not send its reader after the wrong number."""
    caplog.set_level(logging.INFO)

    async def time_out() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(100)

    await run_stop_steps([StopStep("times out", time_out, bound=5)])
    assert outcomes(caplog) == [("times out", "failed", 1)]


async def test_a_cancelled_stop_ends_at_once() -> None:
    """Whoever forces the stop does not wait for the remaining steps."""
    ended: list[str] = []
    step = StopStep("drain", take(20, ended, "drain"), bound=21)
    stop = asyncio.create_task(run_stop_steps([step, step]))
    await asyncio.sleep(1)
    stop.cancel()
    await asyncio.wait([stop])
    assert stop.cancelled()
    assert (ended, asyncio.get_running_loop().time()) == ([], 1)
