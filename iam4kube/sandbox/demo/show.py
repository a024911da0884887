"""The show: one scene after the other, and the verdict."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from iam4kube.runtime.lifecycle import stop_on_signals
from iam4kube.sandbox.demo.base_stage import AnyStage, MakeStage, open_stage
from iam4kube.sandbox.demo.expectations import Unexpected
from iam4kube.sandbox.demo.programs import NotReady
from iam4kube.sandbox.demo.screen import Screen

_EXIT_FAILED = 1
_EXIT_TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True, kw_only=True)
class Show(Generic[AnyStage]):
    """What is played, and where."""

    introduction: str
    stage: MakeStage[AnyStage]
    start: Callable[[AnyStage], Awaitable[None]]
    """Sets up what is there before the first scene."""
    scenes: Sequence[tuple[str, Callable[[AnyStage], Awaitable[None]]]]
    """Titles and scenes, in order. A scene raises `Unexpected` where something does not hold."""
    seconds: float
    """How long everything may take: it ends by itself, whatever happens."""
    commands: Callable[[AnyStage], str]
    """How a person goes on alone, while it is kept running."""


def play(show: Show[AnyStage], *, keep_running: bool) -> int:
    """Play all scenes; returns the exit code: 0 if everything held, else 1. With `keep_running`, until Ctrl-C."""
    try:
        return asyncio.run(_run(show, Screen(sys.stdout), keep_running=keep_running))
    except asyncio.CancelledError:
        return _EXIT_TERMINATED


async def _run(show: Show[AnyStage], screen: Screen, *, keep_running: bool) -> int:
    _end_on_sigterm()
    screen.introduce(show.introduction)
    deadline = asyncio.timeout(show.seconds)
    try:
        async with deadline, open_stage(show.stage, screen) as stage:
            await show.start(stage)
            failed = await _play_scenes(show, stage)
            _conclude(screen, failed, of=len(show.scenes))
            if keep_running:
                deadline.reschedule(None)
                await _keep_running(show.commands(stage), screen)
    except NotReady as error:
        screen.verdict("A program did not start", good=False)
        screen.verbatim(str(error))
        return _EXIT_FAILED
    except TimeoutError:
        screen.verdict(f"Not at the end after {show.seconds:.0f} s", good=False)
        return _EXIT_FAILED
    return _EXIT_FAILED if failed else 0


async def _play_scenes(show: Show[AnyStage], stage: AnyStage) -> list[str]:
    """Play the scenes; returns the titles of those that failed. One that fails does not keep the next from playing."""
    failed = []
    for number, (title, scene) in enumerate(show.scenes, start=1):
        stage.screen.title(f"{number}. {title}")
        try:
            await scene(stage)
        except Unexpected as problem:
            stage.screen.failed(problem)
            failed.append(title)
        else:
            stage.screen.held()
    return failed


def _conclude(screen: Screen, failed: Sequence[str], *, of: int) -> None:
    if failed:
        screen.verdict(f"{len(failed)} of {of} scenes FAILED, after {screen.seconds:.1f} s", good=False)
    else:
        screen.verdict(f"All {of} scenes held, after {screen.seconds:.1f} s", good=True)


async def _keep_running(commands: str, screen: Screen) -> None:
    with stop_on_signals() as stop:
        screen.verbatim(commands)
        await stop.wait()


def _end_on_sigterm() -> None:
    """Let SIGTERM end what the demo started, as Ctrl-C does."""
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
