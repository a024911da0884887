"""Events on pods: only changes make any."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from iam4kube.credentials.values import Credentials, Fetched
from iam4kube.identity.outcomes import Identified, NoRole, Reason, Refused, Unavailable
from iam4kube.kube.objects import Address, Pod
from iam4kube.metadata.lookup import Answer, RoleAnswer
from iam4kube.roles import RoleKey, parse_role_arn, session_name
from iam4kube.server.events import PodEvents
from tests.support.cluster import Cluster, account, node, pod

ADDRESS = Address("10.0.0.7")
ARN = "arn:aws:iam::123456789012:role/reader"
OTHER_ARN = "arn:aws:iam::123456789012:role/writer"


@dataclass
class RememberingRecorder:
    """Keeps what is recorded."""

    recorded: list[tuple[str, str, str, str]] = field(default_factory=list)

    def record(self, pod: Pod, *, kind: str, reason: str, message: str) -> None:
        self.recorded.append((pod.name, kind, reason, message))

    @property
    def reasons(self) -> list[str]:
        return [reason for _, _, reason, _ in self.recorded]


def granted(asker: Pod, arn: str = ARN) -> RoleAnswer:
    """The answer that gives a pod credentials."""
    role = parse_role_arn(arn)
    key = RoleKey(role.arn, None, session_name(namespace=asker.namespace, service_account=asker.service_account))
    now = datetime(2026, 11, 1, tzinfo=UTC)
    credentials = Credentials("AKIAEXAMPLE", "secret", "token", expiration=now, issued=now)
    return RoleAnswer(
        Identified(asker, account(), node("node-1", "192.168.0.1"), role, key), Fetched(credentials, expires_at=1.0)
    )


def without_role(asker: Pod, reason: Reason, detail: str = "") -> NoRole:
    """The answer that gives a pod nothing."""
    return NoRole(reason, asker, detail)


def told(*answers: Answer) -> RememberingRecorder:
    """What is recorded for these answers, one after the other."""
    recorder = RememberingRecorder()
    events = PodEvents(recorder)
    for answer in answers:
        events.answered(ADDRESS, answer)
    return recorder


def test_r10_a_thousand_equal_answers_make_one_event_of_each_reason() -> None:
    """Events are made by changes, not by requests."""
    asker = pod()
    recorder = told(*[granted(asker)] * 1000)
    assert recorder.reasons == ["RoleFound", "CredentialsFound"]
    assert {kind for _, kind, _, _ in recorder.recorded} == {"Normal"}
    assert all(ARN in message for _, _, _, message in recorder.recorded)


def test_another_role_is_a_change() -> None:
    """A changed annotation is told, and so is the change back."""
    asker = pod()
    recorder = told(granted(asker), granted(asker, OTHER_ARN), granted(asker))
    assert recorder.reasons == ["RoleFound", "CredentialsFound"] * 3


def test_r09_an_invalid_annotation_is_told_on_the_pod_with_its_value() -> None:
    """The owner of the pod learns which value is wrong and what is expected."""
    problem = "iam.amazonaws.com/roleArn is 'reader'; expected a role ARN such as arn:aws:iam::123456789012:role/x"
    recorder = told(*[without_role(pod(), Reason.INVALID_ROLE, problem)] * 3)
    [(_, kind, reason, message)] = recorder.recorded
    assert (kind, reason) == ("Warning", "InvalidRole")
    assert problem in message


async def test_r09_the_chain_that_meets_an_invalid_annotation_tells_its_value() -> None:
    """From the ServiceAccount as it stands in the cluster to the event's text: nothing returns before it."""
    cluster = Cluster()
    cluster.sync()
    bad = account(role_arn="arn:aws:iam::12:role/short-account")
    asker = pod("orders-1", ADDRESS)
    cluster.deliver(node("node-1", "192.168.0.1"), bad, asker)
    outcome = cluster.directory.chain.evaluate(ADDRESS)
    assert isinstance(outcome, NoRole)
    recorder = told(outcome)
    assert recorder.reasons == ["InvalidRole"]
    assert "'arn:aws:iam::12:role/short-account'" in recorder.recorded[0][3]
    assert "expected a role ARN" in recorder.recorded[0][3]


def test_a_pod_without_annotation_is_told_what_to_annotate() -> None:
    """The text says what to do."""
    [(_, kind, reason, message)] = told(without_role(pod(), Reason.NO_ANNOTATION)).recorded
    assert (kind, reason) == ("Warning", "NoRole")
    assert "annotate it with iam.amazonaws.com/roleArn" in message


def test_a_refusal_by_sts_is_told_in_its_words_and_so_is_its_end() -> None:
    """After a refusal, credentials are news and the role is not."""
    asker = pod()
    refusal = without_role(asker, Reason.STS_REFUSES, "AccessDenied: not authorized to perform sts:AssumeRole")
    recorder = told(refusal, refusal, granted(asker), refusal)
    assert recorder.reasons == ["NoCredentials", "CredentialsFound", "NoCredentials"]
    assert "not authorized to perform sts:AssumeRole" in recorder.recorded[0][3]


def test_what_may_differ_a_moment_later_makes_no_event() -> None:
    """Neither a deadline nor an address that nobody is told apart by says anything of a pod."""
    asker = pod()
    recorder = told(Unavailable(Reason.AMBIGUOUS, asker), Refused(Reason.NODE_ADDRESS, asker))
    assert recorder.recorded == []


def test_each_pod_is_told_for_itself() -> None:
    """Pods of one ServiceAccount each have their own events."""
    recorder = told(granted(pod(name="one", uid="1")), granted(pod(name="two", uid="2")))
    assert [name for name, _, reason, _ in recorder.recorded if reason == "RoleFound"] == ["one", "two"]


def test_the_memory_is_bounded_and_pods_that_are_gone_leave_it() -> None:
    """However many pods ask, so many are remembered; a deleted pod is not."""
    events = PodEvents(RememberingRecorder(), remembered_pods=10)
    askers = [pod(name=f"pod-{number}", uid=str(number)) for number in range(25)]
    for asker in askers:
        events.answered(ADDRESS, granted(asker))
    assert len(events) == 10
    for asker in askers:
        events.pod_changed(asker, None)
    assert len(events) == 0
