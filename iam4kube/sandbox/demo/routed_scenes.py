"""The scenes with the router, in the order in which they play. Each raises `Unexpected` where it is not so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from iam4kube.sandbox.demo.cast import CART, FINANCE_ORDERS, NODE_SESSION_ARN, ORDERS, WEBSITE
from iam4kube.sandbox.demo.expectations import expect, expect_equal
from iam4kube.sandbox.demo.instance_metadata import OTHER_TCP_PORT, OTHER_UDP_PORT
from iam4kube.sandbox.demo.pods import Answer, Pod
from iam4kube.sandbox.demo.routed_stage import RoutedStage
from iam4kube.sandbox.network import METADATA_IPV4, METADATA_IPV6

RoutedScene = Callable[[RoutedStage], Awaitable[None]]

WORKLOADS = (ORDERS, CART, FINANCE_ORDERS, WEBSITE)
"""The pods; the last one's ServiceAccount has no role."""

_OTHER_WAYS = {
    f"TCP port {OTHER_TCP_PORT}": f"tcp {METADATA_IPV4} {OTHER_TCP_PORT}",
    f"UDP port {OTHER_UDP_PORT}": f"udp {METADATA_IPV4} {OTHER_UDP_PORT}",
    f"[{METADATA_IPV6}] port 80": f"tcp {METADATA_IPV6} 80",
}
_REFUSED_SECONDS = 0.5  # 0.1 ms in the kernel; the rest is boto3 on a busy machine, and half of its own time-out


async def pods_get_the_role_of_the_node(stage: RoutedStage) -> None:
    """The problem: nothing keeps pods from the real metadata service."""
    for pod, answer in await _ask_all(stage):
        expect_equal(NODE_SESSION_ARN, str(answer))
        stage.screen.say(f"{pod} ({pod.workload.address}) asks 169.254.169.254, and is", str(answer))
    await _try_other_ways(stage, expected="answered")
    stage.screen.say(f"{', '.join(_OTHER_WAYS)}: somebody answers")


async def pods_get_their_own_roles(stage: RoutedStage) -> None:
    """What the router is for."""
    await stage.start_router()
    stage.screen.say(f"ip2service run is ready on the node {stage.node.ipv4}")
    async with _out_of_reach(stage):
        await _show_own_roles(stage)


async def nothing_else_is_open(stage: RoutedStage) -> None:
    """Other ports, other protocols and the IPv6 address."""
    async with _out_of_reach(stage):
        for way, answer in (await _try_other_ways(stage, expected="refused")).items():
            stage.screen.say(f"{way}: refused after {answer.milliseconds:.1f} ms")


async def the_router_is_killed(stage: RoutedStage) -> None:
    """Rules are the kernel's: they need no process."""
    async with _out_of_reach(stage):
        await stage.router.kill()
        stage.screen.say("ip2service is killed with SIGKILL; its rules stay")
        await _show_own_roles(stage)
        await _try_other_ways(stage, expected="refused")
        stage.screen.say(f"{', '.join(_OTHER_WAYS)}: refused as before")
        await stage.start_router()
        stage.screen.say("another one is ready, and has taken the rules over as they were")


async def the_replica_is_gone(stage: RoutedStage) -> None:
    """Nobody to answer: pods get nothing at once, and not the node's role."""
    async with _out_of_reach(stage):
        await stage.lose_replica()
        await stage.until_routed(False)
        stage.screen.say("the only replica is gone with its node, and the Service has no endpoint")
        for pod, answer in await _ask_all(stage):
            expect_equal("no credentials", str(answer))
            seconds = answer.milliseconds / 1000
            expect(seconds < _REFUSED_SECONDS, expected="to be refused at once", seen=f"{seconds:.2f} s of waiting")
            stage.screen.say(f"{pod} is refused, and has no credentials after {answer.milliseconds:.0f} ms")
        address = await stage.start_replica()
        await stage.until_routed()
        stage.screen.say(f"another one is ready, at {address}")
        await _show_own_roles(stage)


async def the_node_keeps_its_role(stage: RoutedStage) -> None:
    """kubelet, network plugin and CSI driver need the node's role: its own traffic is left alone."""
    process = await stage.run_on_node()
    answer = await process.ask("identity")
    expect_equal(NODE_SESSION_ARN, str(answer))
    text = f"{process}, with hostNetwork ({process.workload.address}), has credentials"
    stage.screen.say(f"{text} after {answer.milliseconds:.0f} ms, and is", str(answer))


ROUTED_SCENES: tuple[tuple[str, RoutedScene], ...] = (
    ("Without the router, each pod gets the role of the node", pods_get_the_role_of_the_node),
    ("With it, each gets the role of its ServiceAccount", pods_get_their_own_roles),
    ("Nothing else of the metadata service is open", nothing_else_is_open),
    ("The router is killed", the_router_is_killed),
    ("The replica is gone", the_replica_is_gone),
    ("The node itself keeps its role", the_node_keeps_its_role),
)
"""Titles and scenes, in order."""


async def _ask_all(stage: RoutedStage) -> list[tuple[Pod, Answer]]:
    answers = await asyncio.gather(*(pod.ask("identity") for pod in stage.pods))
    return list(zip(stage.pods, answers, strict=True))


async def _show_own_roles(stage: RoutedStage) -> None:
    """Show that each pod has its own role, or nothing without one."""
    for pod, answer in await _ask_all(stage):
        where = f"{pod} ({pod.workload.address})"
        if pod.workload.role_arn is None:
            expect_equal("no credentials", str(answer))
            stage.screen.say(f"{where} has no role, and has no credentials after {answer.milliseconds:.0f} ms")
        else:
            expect_equal(pod.workload.session_arn, str(answer))
            stage.screen.say(f"{where} has credentials after {answer.milliseconds:.0f} ms, and is", str(answer))


async def _try_other_ways(stage: RoutedStage, *, expected: str) -> dict[str, Answer]:
    """Try all other ways to the metadata service, from one pod."""
    answers = {way: await stage.pods[0].ask(question) for way, question in _OTHER_WAYS.items()}
    for way, answer in answers.items():
        expect(answer.result == expected, expected=f"{way} to be {expected}", seen=answer)
    return answers


@asynccontextmanager
async def _out_of_reach(stage: RoutedStage) -> AsyncIterator[None]:
    """Whatever pods do in here, the real metadata service hears nothing of it."""
    before = stage.metadata.askers.total()
    yield
    heard = stage.metadata.askers.total() - before
    expect(heard == 0, expected="the real metadata service to hear nothing", seen=f"{heard} questions")
    stage.screen.say("the real metadata service has heard nothing of all this")
