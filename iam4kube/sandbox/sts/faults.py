"""What can go wrong between a caller and STS, on demand: for all roles or for one, a few times or until lifted."""

from dataclasses import dataclass
from enum import StrEnum

from iam4kube.sandbox.sts.errors import StsError, throttled


class Effect(StrEnum):
    """What a fault does to the calls that it strikes."""

    REFUSE = "refuse"
    """Answers with an error."""
    HANG = "hang"
    """Never answers."""
    DROP = "drop"
    """Closes the connection without an answer."""
    GARBLE = "garble"
    """Answers 502 with a proxy's HTML."""


@dataclass(kw_only=True)
class Fault:
    """One fault at work. `lift` ends it."""

    effect: Effect
    role_arn: str | None
    """None strikes calls for all roles, and those without a role."""
    times: int | None
    error: StsError | None = None
    hits: int = 0
    """How often it struck."""

    def strikes(self, role_arn: str | None) -> bool:
        """Whether it hits a call for this role; if so, it is counted."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.role_arn not in (None, role_arn):
            return False
        self.hits += 1
        return True

    def lift(self) -> None:
        """Strike no more."""
        self.times = 0


class Faults:
    """The faults of one STS, and its latency."""

    def __init__(self) -> None:
        self.latency = 0.0
        """Seconds before every answer; real ones take 0.05 to 0.1."""
        self._faults: list[Fault] = []

    def refuse(
        self, status: int, code: str, message: str, *, role_arn: str | None = None, times: int | None = None
    ) -> Fault:
        """Answer with any error."""
        error = StsError(status, code, message)
        return self._add(Fault(effect=Effect.REFUSE, role_arn=role_arn, times=times, error=error))

    def throttle(self, *, role_arn: str | None = None, times: int | None = None) -> Fault:
        """Answer `Throttling`."""
        return self._add(Fault(effect=Effect.REFUSE, role_arn=role_arn, times=times, error=throttled()))

    def break_down(self, *, status: int = 503, role_arn: str | None = None, times: int | None = None) -> Fault:
        """Answer 5xx."""
        code = "ServiceUnavailable" if status == 503 else "InternalFailure"
        return self.refuse(status, code, "The request has failed", role_arn=role_arn, times=times)

    def disable_region(self, *, region: str, account: str, times: int | None = None) -> Fault:
        """Answer as an account that has not activated STS in the region."""
        message = (
            f"STS is not activated in this region for account:{account}. "
            f"Your account administrator can activate STS in this region ({region}) using the IAM Console."
        )
        return self.refuse(403, "RegionDisabledException", message, times=times)

    def hang(self, *, role_arn: str | None = None, times: int | None = None) -> Fault:
        """Never answer: the caller's read time-out is what ends it."""
        return self._add(Fault(effect=Effect.HANG, role_arn=role_arn, times=times))

    def drop(self, *, role_arn: str | None = None, times: int | None = None) -> Fault:
        """Close the connection without an answer."""
        return self._add(Fault(effect=Effect.DROP, role_arn=role_arn, times=times))

    def garble(self, *, role_arn: str | None = None, times: int | None = None) -> Fault:
        """Answer as a proxy whose upstream is gone: no XML, no error code."""
        return self._add(Fault(effect=Effect.GARBLE, role_arn=role_arn, times=times))

    def clear(self) -> None:
        """Lift all faults, and be fast again."""
        self.latency = 0.0
        for fault in self._faults:
            fault.lift()
        self._faults.clear()

    def take(self, role_arn: str | None) -> Fault | None:
        """The first fault that strikes a call for this role, if any."""
        return next((fault for fault in self._faults if fault.strikes(role_arn)), None)

    def _add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault
