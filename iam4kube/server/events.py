"""Events on pods: what a pod's owner learns of the answers that the pod gets, from `kubectl describe pod`.

Each pod's last outcome is remembered, and only a change makes an event: thousands of equal answers make one.
The metadata API's warm path calls this for every answer, so the common case is one dictionary look-up.
"""

from enum import StrEnum
from typing import Literal, Protocol

from iam4kube.identity.outcomes import NoRole, Reason
from iam4kube.kube.objects import Address, Pod, Uid
from iam4kube.metadata.lookup import Answer, RoleAnswer
from iam4kube.roles import ROLE_ANNOTATION

# Pods remembered. Each is 100 to 150 bytes, and is forgotten with its object; the largest supported cluster has
# 150,000. Beyond that the oldest is forgotten, which costs at most one more event.
REMEMBERED_PODS = 200_000


class EventReason(StrEnum):
    """An event's reason: part of what users filter by, so the words are fixed."""

    ROLE_FOUND = "RoleFound"
    CREDENTIALS_FOUND = "CredentialsFound"
    NO_ROLE = "NoRole"
    INVALID_ROLE = "InvalidRole"
    NO_CREDENTIALS = "NoCredentials"


class Recorder(Protocol):
    """Sends events in the background: `kube.events.EventRecorder`. Never blocks, never raises."""

    def record(self, pod: Pod, *, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Queue one event, or drop and count it."""
        ...


class PodEvents:
    """Owns what each pod was last told."""

    def __init__(self, recorder: Recorder, *, remembered_pods: int = REMEMBERED_PODS) -> None:
        self._recorder = recorder
        self._limit = remembered_pods
        self._told: dict[Uid, str] = {}

    def __len__(self) -> int:
        return len(self._told)

    def answered(self, _address: Address, answer: Answer) -> None:
        """Hear of an answer of the metadata API. An answer that may differ a moment later makes no event."""
        if isinstance(answer, RoleAnswer):
            self._found(answer)
        elif isinstance(answer, NoRole):
            self._missed(answer)

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """Forget a pod whose object is gone."""
        if new is None and old is not None:
            self._told.pop(old.uid, None)

    def _found(self, answer: RoleAnswer) -> None:
        identified = answer.identified
        pod, arn = identified.pod, identified.role.arn
        told = self._told.get(pod.uid)
        if told == arn:
            return
        self._remember(pod.uid, arn)
        if not _is_refusal_by_sts(told):
            account = identified.account
            self._normal(
                pod,
                EventReason.ROLE_FOUND,
                f"ServiceAccount {account.namespace}/{account.name} names the role {arn}",
            )
        self._normal(pod, EventReason.CREDENTIALS_FOUND, f"The pod gets credentials of the role {arn}")

    def _missed(self, answer: NoRole) -> None:
        pod = answer.pod
        outcome = f"{answer.reason} {answer.detail}"
        if self._told.get(pod.uid) == outcome:
            return
        self._remember(pod.uid, outcome)
        reason, message = _warning(answer)
        self._recorder.record(pod, kind="Warning", reason=reason, message=message)

    def _normal(self, pod: Pod, reason: EventReason, message: str) -> None:
        self._recorder.record(pod, kind="Normal", reason=reason, message=message)

    def _remember(self, uid: Uid, outcome: str) -> None:
        self._told[uid] = outcome
        if len(self._told) > self._limit:
            del self._told[next(iter(self._told))]


def _is_refusal_by_sts(told: str | None) -> bool:
    """Whether the role is known to the pod's owner already, and only its credentials were missing."""
    return told is not None and told.startswith(Reason.STS_REFUSES)


def _warning(answer: NoRole) -> tuple[EventReason, str]:
    """The reason and the text: what is wrong, and what to do about it."""
    account = f"{answer.pod.namespace}/{answer.pod.service_account}"
    if answer.reason is Reason.STS_REFUSES:
        return EventReason.NO_CREDENTIALS, (
            f"STS refuses the role of ServiceAccount {account}: {answer.detail}. "
            "Check the role's trust policy; it is tried again within 5 minutes"
        )
    if answer.reason is Reason.INVALID_ROLE:
        return EventReason.INVALID_ROLE, f"ServiceAccount {account}: {answer.detail}"
    if answer.reason is Reason.NO_SERVICE_ACCOUNT:
        return (
            EventReason.NO_ROLE,
            "The pod asks for AWS credentials, and a static pod has no ServiceAccount to name its role",
        )
    return EventReason.NO_ROLE, (
        f"The pod asks for AWS credentials, and its ServiceAccount {account} has no role: "
        f"annotate it with {ROLE_ANNOTATION}"
    )
