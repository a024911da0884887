"""The scenes, in the order in which they play. Each shows one thing, and raises `Unexpected` if it is not so."""

import asyncio
from collections.abc import Awaitable, Callable

from iam4kube.sandbox.demo.base_stage import STS_SECONDS
from iam4kube.sandbox.demo.cast import CART, CHECKOUT, FINANCE_ORDERS, ORDERS, REPORTS, SEARCH, WEBSITE, Workload
from iam4kube.sandbox.demo.expectations import expect, expect_equal
from iam4kube.sandbox.demo.pods import Answer, Pod
from iam4kube.sandbox.demo.stage import Stage
from iam4kube.sandbox.kubernetes import objects

Scene = Callable[[Stage], Awaitable[None]]

_WAIT_SECONDS = 0.3  # of the 1 s after which boto3 gives up
_AT_ONCE_SECONDS = 0.5  # a few milliseconds on an idle machine


def set_up_cluster(stage: Stage) -> None:
    """What is there before the server starts: running pods, and the ServiceAccounts of those to come."""
    for workload in (ORDERS, CART, FINANCE_ORDERS, REPORTS, WEBSITE):
        stage.add_account(workload)
        stage.add_pod(workload)
    stage.add_account(CHECKOUT)
    stage.add_account(SEARCH, annotated=False)
    stage.add_pod(SEARCH)


async def each_pod_gets_its_own_role(stage: Stage) -> None:
    """Three pods of two namespaces, each with the role of its ServiceAccount."""
    workloads = (ORDERS, CART, FINANCE_ORDERS)
    pods = await stage.run_pods(*workloads)
    sessions = _sessions_of(stage, *workloads)
    answers = await asyncio.gather(*(pod.ask("identity") for pod in pods))
    for pod, answer in zip(pods, answers, strict=True):
        _show_identity(stage, pod, answer)
    expect_equal(sessions, _sessions_of(stage, *workloads))
    stage.screen.say("STS was not called for it: the server had their credentials before")


async def a_pod_asks_before_its_address_is_known(stage: Stage) -> None:
    """A pod that starts faster than its kubelet reports, answered the moment it does."""
    stage.add_pod(CHECKOUT, addressed=False)
    pod = await stage.run_pod(CHECKOUT)
    asked = await pod.begin("identity")
    stage.screen.say(f"{pod} asks; nobody knows yet whose address {CHECKOUT.address} is")
    await asyncio.sleep(_WAIT_SECONDS)
    known = asyncio.get_running_loop().time()
    running = objects.pod(CHECKOUT.name, addresses=[CHECKOUT.address])["status"]
    stage.kubernetes.patch("pods", CHECKOUT.name, {"status": running}, namespace=CHECKOUT.namespace)
    stage.screen.say("the kubelet writes the address to the pod's status")
    answer = await pod.answer(asked)
    expect(asked < known < answer.answered, expected="an answer once the address is known", seen="an earlier one")
    late = answer.answered - known
    expect(late < _AT_ONCE_SECONDS, expected="the answer at once", seen=f"{late:.2f} s of waiting")
    _show_identity(stage, pod, answer)
    stage.screen.say(f"that is {late * 1000:.0f} ms after its address was known")


async def a_role_is_annotated_a_moment_before(stage: Stage) -> None:
    """A ServiceAccount that gets its role just before its pod asks."""
    pod = await stage.run_pod(SEARCH)
    await _keep_token(pod)  # the process is up: nothing lies between the annotation and the question
    annotations = {objects.ROLE_ARN: SEARCH.role_arn}
    stage.kubernetes.patch(
        "serviceaccounts", SEARCH.name, {"metadata": {"annotations": annotations}}, namespace=SEARCH.namespace
    )
    stage.screen.say(f"ServiceAccount {SEARCH} is annotated with", str(SEARCH.role_arn))
    answer = await pod.ask("identity")
    _show_identity(stage, pod, answer)
    stage.screen.say(f"STS took {STS_SECONDS * 1000:.0f} ms of these")


async def sts_refuses_a_role(stage: Stage) -> None:
    """A ServiceAccount that names a role whose trust policy is for another one."""
    pod = await stage.run_pod(REPORTS)
    stage.screen.say(f"ServiceAccount {REPORTS} names the role of {ORDERS}; its trust policy asks for that one's name")
    await _show_no_credentials(stage, pod, reason="NoCredentials", words="not authorized to perform: sts:AssumeRole")


async def a_pod_has_no_role(stage: Stage) -> None:
    """Most pods: their ServiceAccount has no annotation, and they get nothing, least of all the node's role."""
    pod = await stage.run_pod(WEBSITE)
    await _show_no_credentials(stage, pod, reason="NoRole", words=objects.ROLE_ARN)


async def a_replica_is_restarted(stage: Stage) -> None:
    """Tokens are not remembered, they are signed: another replica takes them, and so does a new one."""
    pod = await stage.run_pod(ORDERS)
    await _keep_token(pod)
    stage.screen.say(f"{pod} has a token and keeps it for hours, as the SDKs for Go, Ruby and Rust do")
    await stage.replica.kill()
    stage.screen.say("the replica is killed with all that it knew")
    await stage.start_replica()
    stage.screen.say("another one is ready")
    listed = await pod.ask("role")
    expect_equal("orders", str(listed))
    stage.screen.say(f"the kept token is good: its role is {listed}, after {listed.milliseconds:.0f} ms")
    _show_identity(stage, pod, await pod.ask("identity"))


SCENES: tuple[tuple[str, Scene], ...] = (
    ("Pods of two namespaces get the roles of their ServiceAccounts", each_pod_gets_its_own_role),
    ("A pod asks before its address is known", a_pod_asks_before_its_address_is_known),
    ("A role is annotated a moment before its pod asks", a_role_is_annotated_a_moment_before),
    ("STS refuses a role", sts_refuses_a_role),
    ("A pod has no role", a_pod_has_no_role),
    ("A replica is restarted while an SDK keeps its token", a_replica_is_restarted),
)
"""Titles and scenes, in order."""


def _show_identity(stage: Stage, pod: Pod, answer: Answer) -> None:
    """Show who the pod is to AWS. Raises `Unexpected` if that is not who its ServiceAccount says."""
    expect_equal(pod.workload.session_arn, str(answer))
    text = f"{pod} ({pod.workload.address}) has credentials after {answer.milliseconds:.0f} ms, and is"
    stage.screen.say(text, str(answer))


async def _keep_token(pod: Pod) -> None:
    answer = await pod.ask("token")
    expect(answer.error is None, expected=f"a token for {pod}", seen=answer)


async def _show_no_credentials(stage: Stage, pod: Pod, *, reason: str, words: str) -> None:
    """Show that a pod gets nothing and that its owner is told why."""
    answer = await pod.ask("identity")
    expect_equal("no credentials", str(answer))
    stage.screen.say(f"{pod} ({pod.workload.address}) has no credentials, after {answer.milliseconds:.0f} ms")
    message = await stage.event(pod.workload, reason)
    expect(words in message, expected=f"an event that says {words!r}", seen=message)
    stage.screen.say(f"event {reason} on the pod:", message)


def _sessions_of(stage: Stage, *workloads: Workload) -> int:
    """How often STS has given these pods' roles out; it keeps being asked for those that it refuses."""
    return sum(stage.sts.count(workload.role_arn, outcome="Success") for workload in workloads)
