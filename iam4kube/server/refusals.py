"""A log line for what a pod's owner cannot learn from an event: an address that is not served, an answer too late.

Whoever is refused usually asks again and again, so each address and reason gets a line every five minutes at
most, and all of them together one a second. Every refusal is in the metrics.
"""

import logging

from iam4kube.identity.outcomes import Reason, Refused, Unavailable
from iam4kube.kube.objects import Address
from iam4kube.metadata.lookup import Answer
from iam4kube.runtime.limits import KeyedBuckets, TokenBucket

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 300.0
_LINES_PER_SECOND = 1.0
_LINES_AT_ONCE = 20.0

_HINTS = {
    Reason.NODE_ADDRESS: "hostNetwork pods, host processes and masqueraded traffic share a node's address, and cannot "
    "be told apart; use a pod network that keeps pods' addresses",
    Reason.STALE: "the API server has been out of reach for longer than --max-stale",
    Reason.AMBIGUOUS: "two pods claim this address, and the API server did not settle it",
    Reason.UNKNOWN_ADDRESS: "no pod with this address became known in time",
    Reason.NODE_REBOOTED: "the status of the pod with this address was last written before its node's reboot, as far "
    "as this replica was told; if that lasts, a restart of one of the pod's containers makes the kubelet write it",
    Reason.NO_CREDENTIALS_YET: "STS did not answer in time",
}


class RefusalLog:
    """Owns who was written of lately. Make it on the event loop."""

    def __init__(self) -> None:
        self._lines = TokenBucket(rate=_LINES_PER_SECOND, burst=_LINES_AT_ONCE)
        self._lately = KeyedBuckets(rate=1 / _SECONDS_BETWEEN_LINES, burst=1)

    def answered(self, address: Address, answer: Answer) -> None:
        """Hear of an answer of the metadata API."""
        if not isinstance(answer, Refused | Unavailable) or answer.reason is Reason.SHUTTING_DOWN:
            return
        if not self._lately.try_take((address, answer.reason)) or not self._lines.try_take():
            return
        extra = {"address": address, "reason": answer.reason.value}
        if answer.pod is not None:
            extra |= {"namespace": answer.pod.namespace, "pod": answer.pod.name}
        if hint := _HINTS.get(answer.reason):
            extra["hint"] = hint
        logger.warning("Request not served", extra=extra)
