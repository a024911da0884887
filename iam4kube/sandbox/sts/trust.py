"""Who may assume which role: the few conditions of trust policies that this project relies on."""

from dataclasses import dataclass

from iam4kube.sandbox.sts.requests import AssumeRole


@dataclass(frozen=True, kw_only=True)
class TrustPolicy:
    """The conditions of one role. None: not a condition."""

    external_id: str | None = None
    """`sts:ExternalId`."""
    session_name: str | None = None
    """`sts:RoleSessionName`."""
    denied: bool = False

    def allows(self, call: AssumeRole) -> bool:
        """Whether the call meets every condition."""
        if self.denied or self.external_id not in (None, call.external_id):
            return False
        return self.session_name in (None, call.session_name)


class TrustPolicies:
    """The policies by role ARN. A role without one trusts everybody, unless `known_only`."""

    def __init__(self, *, known_only: bool = False) -> None:
        self._by_role: dict[str, TrustPolicy] = {}
        self._otherwise = TrustPolicy(denied=known_only)

    def trust(self, role_arn: str, *, external_id: str | None = None, session_name: str | None = None) -> None:
        """Let callers in who meet these conditions."""
        self._by_role[role_arn] = TrustPolicy(external_id=external_id, session_name=session_name)

    def deny(self, role_arn: str) -> None:
        """Let nobody in, as when the role or its policy does not exist."""
        self._by_role[role_arn] = TrustPolicy(denied=True)

    def allows(self, call: AssumeRole) -> bool:
        """Whether the role's policy lets the call through."""
        return self._by_role.get(call.role_arn, self._otherwise).allows(call)
