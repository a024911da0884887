"""What can go wrong between a client and its API server, on demand.

A fault matches requests by verb and resource, a number of times or until it is lifted. Faults that need one
connection to be alive are taken by the watches themselves.
"""

from dataclasses import dataclass
from enum import StrEnum

from iam4kube.sandbox.kubernetes.errors import REASONS, ApiError, forbidden
from iam4kube.sandbox.kubernetes.requests import ApiRequest


class Effect(StrEnum):
    """What a fault does to the requests it matches."""

    REFUSE = "refuse"
    """Answers with an error status."""
    FORBID = "forbid"
    """Answers 403 as RBAC does, naming verb and resource."""
    DELAY = "delay"
    """Answers later."""
    HANG = "hang"
    """Takes the request and never answers."""
    CUT = "cut"
    """Closes the connection in the middle: of a list's body, of a watch's next line."""
    SILENCE = "silence"
    """A watch, open or opened from now on, stays open and says nothing: a half-open connection."""


@dataclass(kw_only=True)
class Fault:
    """One fault at work. `lift` ends it."""

    effect: Effect
    verb: str | None = None
    """RBAC's word (`get`, `list`, `watch`, `create`, `patch`, ...); None matches all."""
    resource: str | None = None
    """The plural, with the subresource if any (`pods`, `pods/status`); None matches all."""
    times: int | None = None
    """How often it strikes; None is until lifted."""
    seconds: float = 0.0
    error: ApiError | None = None
    hits: int = 0
    """How often it struck."""

    def strikes(self, request: ApiRequest) -> bool:
        """Whether it hits this request; if so, it is counted."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.verb not in (None, request.verb) or self.resource not in (None, request.rbac_resource):
            return False
        self.hits += 1
        return True

    def lift(self) -> None:
        """Strike no more."""
        self.times = 0


class Faults:
    """The faults of one API server, in the order in which they were set; the first that matches strikes."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def refuse(
        self,
        code: int,
        *,
        verb: str | None = None,
        resource: str | None = None,
        times: int | None = None,
        reason: str | None = None,
        message: str = "",
        retry_after: int | None = None,
    ) -> Fault:
        """Answer with a status and a Status object; `retry_after` in seconds."""
        error = ApiError(
            code, message or f"injected: {REASONS.get(code, code)}", reason=reason, retry_after=retry_after
        )
        return self._add(Fault(effect=Effect.REFUSE, verb=verb, resource=resource, times=times, error=error))

    def forbid(self, *, verb: str | None = None, resource: str | None = None, times: int | None = None) -> Fault:
        """Answer 403 as RBAC does."""
        return self._add(Fault(effect=Effect.FORBID, verb=verb, resource=resource, times=times))

    def delay(
        self, seconds: float, *, verb: str | None = None, resource: str | None = None, times: int | None = None
    ) -> Fault:
        """Answer so much later."""
        return self._add(Fault(effect=Effect.DELAY, verb=verb, resource=resource, times=times, seconds=seconds))

    def hang(self, *, verb: str | None = None, resource: str | None = None, times: int | None = None) -> Fault:
        """Never answer."""
        return self._add(Fault(effect=Effect.HANG, verb=verb, resource=resource, times=times))

    def cut(self, *, verb: str | None = None, resource: str | None = None, times: int | None = 1) -> Fault:
        """Close the connection in the middle of what is written next: once, unless told otherwise."""
        return self._add(Fault(effect=Effect.CUT, verb=verb, resource=resource, times=times))

    def silence(self, *, resource: str | None = None, times: int | None = None) -> Fault:
        """Watches say nothing more. One that fell silent stays so, even when the fault is lifted."""
        return self._add(Fault(effect=Effect.SILENCE, verb="watch", resource=resource, times=times))

    def clear(self) -> None:
        """Lift all faults."""
        for fault in self._faults:
            fault.lift()
        self._faults.clear()

    def take(self, effect: Effect, request: ApiRequest) -> Fault | None:
        """The fault of this kind that strikes the request now, if any."""
        return next((fault for fault in self._faults if fault.effect is effect and fault.strikes(request)), None)

    def refusal(self, request: ApiRequest, *, user: str) -> ApiError | None:
        """The error that the request is to be refused with, if any."""
        if self.take(Effect.FORBID, request) is not None:
            return forbidden(request.resource, request.verb, namespace=request.namespace, user=user)
        fault = self.take(Effect.REFUSE, request)
        return fault.error if fault is not None else None

    def _add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault
