"""Eternal tasks: none dies unnoticed, none outlives its owner."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest

from iam4kube.runtime.tasks import Supervisor, TaskDied, supervise

pytestmark = pytest.mark.looptime


class Eternal:
    """Runs until it is cancelled, and notes when that was."""

    def __init__(self, ends: list[str], name: str) -> None:
        self._ends = ends
        self._name = name

    async def run(self) -> None:
        """Wait for ever."""
        try:
            await asyncio.Event().wait()
        finally:
            self._ends.append(self._name)


async def own(body: Coroutine[Any, Any, object], tasks: dict[str, Coroutine[Any, Any, object]]) -> None:
    """An owner of these tasks, until `body` ends."""
    async with Supervisor() as supervisor:
        for name, task in tasks.items():
            supervisor.start(name, task)
        await body


async def fail_after(seconds: float) -> None:
    """A task with a defect."""
    await asyncio.sleep(seconds)
    raise LookupError("the defect")


async def test_a_task_that_raises_ends_its_owner_with_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    """The process ends and is started again, instead of serving ever older answers."""
    with pytest.raises(ExceptionGroup) as group:
        await own(asyncio.sleep(100), {"watch pods": fail_after(3)})
    (died,) = group.value.exceptions
    assert isinstance(died, TaskDied)
    assert isinstance(died.__cause__, LookupError)
    assert asyncio.get_running_loop().time() == 3
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "Eternal task failed")
    assert record.__dict__["task"] == "watch pods"
    assert record.exc_info is not None


async def test_a_task_that_returns_has_died_too(caplog: pytest.LogCaptureFixture) -> None:
    """Its work is left undone, without any exception to tell."""
    with pytest.raises(TaskDied, match="refresh"):
        await supervise("refresh", asyncio.sleep(1))
    assert caplog.messages == ["Eternal task returned"]


async def test_the_end_of_the_body_cancels_all_tasks_and_waits_for_them() -> None:
    """Nothing outlives the owner, and that is no failure."""
    ends: list[str] = []
    async with Supervisor() as supervisor:
        for name in ("first", "second"):
            supervisor.start(name, Eternal(ends, name).run())
        await asyncio.sleep(1)
        assert ends == []
    assert sorted(ends) == ["first", "second"]


async def test_the_death_of_one_task_ends_the_others() -> None:
    """Siblings of a dead task are cancelled, not left behind."""
    ends: list[str] = []
    with pytest.raises(ExceptionGroup):
        await own(asyncio.sleep(100), {"sound": Eternal(ends, "sound").run(), "broken": fail_after(1)})
    assert ends == ["sound"]
    assert asyncio.get_running_loop().time() == 1


async def test_one_task_can_be_stopped_by_name() -> None:
    """The ordered stop ends them one after the other."""
    ends: list[str] = []
    async with Supervisor() as supervisor:
        for name in ("watch", "events"):
            supervisor.start(name, Eternal(ends, name).run())
        await asyncio.sleep(0)
        await supervisor.stop("watch")
        assert ends == ["watch"]
        await asyncio.sleep(1)
        assert ends == ["watch"]


async def test_a_task_that_never_got_to_run_is_ended_quietly() -> None:
    """Python warns of a coroutine that nobody awaited; warnings are errors in these tests."""
    ends: list[str] = []
    async with Supervisor() as supervisor:
        supervisor.start("early", Eternal(ends, "early").run())
    assert ends == []


async def test_a_failure_of_the_body_is_what_comes_out() -> None:
    """The tasks' cancellation hides nothing."""
    with pytest.raises(ExceptionGroup) as group:
        await own(fail_after(1), {"sound": Eternal([], "sound").run()})
    assert [type(error) for error in group.value.exceptions] == [LookupError]
