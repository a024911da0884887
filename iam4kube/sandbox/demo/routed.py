"""The demo with the router: both programs and the real kernel's network, in namespaces that end with it."""

from collections.abc import Sequence

from iam4kube.sandbox.demo.nsenter import commands
from iam4kube.sandbox.demo.routed_scenes import ROUTED_SCENES, WORKLOADS, RoutedScene
from iam4kube.sandbox.demo.routed_stage import RoutedStage
from iam4kube.sandbox.demo.show import Show, play

_INTRODUCTION = (
    "iam4kube and ip2service, the real server and the real router, on the real kernel: a worker node and its pods in "
    "network namespaces, which end with the demo. The Kubernetes API, STS and EC2's metadata service are emulated. "
    "Pods are processes with boto3 as it comes. They are told nothing at all, and ask 169.254.169.254. "
    "Seconds since the start are on the left; milliseconds are what boto3 took, its own work included."
)

_SECONDS = 50.0
"""It takes 8 on an idle machine: two programs are started twice each, and looked at by a third."""


def run_demo_with_router(
    *, keep_running: bool = False, scenes: Sequence[tuple[str, RoutedScene]] = ROUTED_SCENES
) -> int:
    """As `run_demo`. Only in a process that `machine.move_into_own_network` has prepared."""
    show = Show(
        introduction=_INTRODUCTION, stage=RoutedStage, start=_start, scenes=scenes, seconds=_SECONDS, commands=commands
    )
    return play(show, keep_running=keep_running)


async def _start(stage: RoutedStage) -> None:
    stage.screen.say(f"a worker node at {stage.node.ipv4}, with EC2's metadata service behind it")
    for workload in WORKLOADS:
        await stage.run_pod(workload)
    stage.screen.say("its pods: " + ", ".join(f"{pod} at {pod.workload.address}" for pod in stage.pods))
    address = await stage.start_replica()
    stage.screen.say(f"iam4kube serve is ready in a pod of another node, at {address}")
