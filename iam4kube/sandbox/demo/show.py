"""The show: one scene after the other, and the verdict."""

import asyncio
import signal
import sys
from collections.abc import Sequence

from iam4kube.runtime.lifecycle import stop_on_signals
from iam4kube.sandbox.demo.curl import commands
from iam4kube.sandbox.demo.expectations import Unexpected
from iam4kube.sandbox.demo.replica import NotReady
from iam4kube.sandbox.demo.scenes import SCENES, Scene, set_up_cluster
from iam4kube.sandbox.demo.screen import Screen
from iam4kube.sandbox.demo.stage import STS_SECONDS, Stage, open_stage

_SECONDS = 28.0
"""How long everything may take: the demo ends by itself in under 30 s, whatever happens."""

_EXIT_FAILED = 1
_EXIT_TERMINATED = 128 + signal.SIGTERM
_INTRODUCTION = (
    "iam4kube, the real server, with an emulated Kubernetes API and an emulated STS. Pods are processes with boto3 "
    "as it comes, each with an address of its own; they are told where the metadata service is, and nothing else. "
    "Seconds since the start are on the left; milliseconds are what boto3 took, its own work included."
)


def run_demo(*, keep_running: bool = False, scenes: Sequence[tuple[str, Scene]] = SCENES) -> int:
    """Play all scenes; returns the exit code: 0 if everything held, else 1. With `keep_running`, until Ctrl-C."""
    try:
        return asyncio.run(_run(Screen(sys.stdout), scenes, keep_running=keep_running))
    except asyncio.CancelledError:
        return _EXIT_TERMINATED


async def _run(screen: Screen, scenes: Sequence[tuple[str, Scene]], *, keep_running: bool) -> int:
    _end_on_sigterm()
    screen.introduce(_INTRODUCTION)
    deadline = asyncio.timeout(_SECONDS)
    try:
        async with deadline, open_stage(screen) as stage:
            await _start(stage)
            failed = await _play(stage, scenes)
            _conclude(screen, failed, of=len(scenes))
            if keep_running:
                deadline.reschedule(None)
                await _keep_running(stage)
    except NotReady as error:
        screen.verdict("The server did not start", good=False)
        screen.verbatim(str(error))
        return _EXIT_FAILED
    except TimeoutError:
        screen.verdict(f"Not at the end after {_SECONDS:.0f} s", good=False)
        return _EXIT_FAILED
    return _EXIT_FAILED if failed else 0


async def _start(stage: Stage) -> None:
    set_up_cluster(stage)
    stage.screen.say(f"Kubernetes API at {stage.kubernetes.url}")
    stage.screen.say(f"STS at {stage.sts.url}, which takes {STS_SECONDS * 1000:.0f} ms for an answer")
    await stage.start_replica()
    stage.screen.say(f"iam4kube serve at {stage.replica.url('metadata')} is ready")


async def _play(stage: Stage, scenes: Sequence[tuple[str, Scene]]) -> list[str]:
    """Play the scenes; returns the titles of those that failed. One that fails does not keep the next from playing."""
    failed = []
    for number, (title, scene) in enumerate(scenes, start=1):
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


async def _keep_running(stage: Stage) -> None:
    with stop_on_signals() as stop:
        stage.screen.verbatim(commands(stage))
        await stop.wait()


def _end_on_sigterm() -> None:
    """Let SIGTERM end what the demo started, as Ctrl-C does."""
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
