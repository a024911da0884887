"""The demo without the router: on loopback, for everybody, everywhere."""

from collections.abc import Sequence

from iam4kube.sandbox.demo.base_stage import STS_SECONDS
from iam4kube.sandbox.demo.curl import commands
from iam4kube.sandbox.demo.scenes import SCENES, Scene, set_up_cluster
from iam4kube.sandbox.demo.show import Show, play
from iam4kube.sandbox.demo.stage import Stage

_INTRODUCTION = (
    "iam4kube, the real server, with an emulated Kubernetes API and an emulated STS. Pods are processes with boto3 "
    "as it comes, each with an address of its own; they are told where the metadata service is, and nothing else. "
    "Seconds since the start are on the left; milliseconds are what boto3 took, its own work included."
)

_SECONDS = 28.0
"""Under 30 with the start of Python; it takes 4 on an idle machine."""


def run_demo(*, keep_running: bool = False, scenes: Sequence[tuple[str, Scene]] = SCENES) -> int:
    """Play all scenes; returns the exit code: 0 if everything held, else 1. With `keep_running`, until Ctrl-C."""
    show = Show(
        introduction=_INTRODUCTION, stage=Stage, start=_start, scenes=scenes, seconds=_SECONDS, commands=commands
    )
    return play(show, keep_running=keep_running)


async def _start(stage: Stage) -> None:
    set_up_cluster(stage)
    stage.screen.say(f"Kubernetes API at {stage.kubernetes.url}")
    stage.screen.say(f"STS at {stage.sts.url}, which takes {STS_SECONDS * 1000:.0f} ms for an answer")
    await stage.start_replica()
    stage.screen.say(f"iam4kube serve at {stage.replica.url('metadata')} is ready")
