"""The ServiceAccounts, and the role each of them names."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from iam4kube.identity.outcomes import account_key
from iam4kube.kube.objects import ServiceAccount
from iam4kube.roles import ROLE_ANNOTATION, InvalidRole, Role, RoleKey, parse_external_id, parse_role_arn, session_name
from iam4kube.runtime.waits import Waits


class RoleSink(Protocol):
    """Hears which roles are wanted, so that their credentials are there before anybody asks."""

    def hold(self, key: RoleKey, *, namespace: str) -> None:
        """One more ServiceAccount names this role."""
        ...

    def release(self, key: RoleKey) -> None:
        """One fewer ServiceAccount names this role."""
        ...

    def use(self, key: RoleKey, pods: int) -> None:
        """So many unfinished pods use this role now."""
        ...


class RolePolicy(msgspec.Struct, frozen=True):
    """Which roles a ServiceAccount may not name, whatever their syntax. Known once STS has answered."""

    partition: str | None = None
    """The server's own partition: STS of one partition cannot assume a role of another."""
    reserved: frozenset[tuple[str, str]] = frozenset()
    """Account and name of the server's own role and of `--assume-role-arn`: they may assume everything."""

    def check(self, role: Role) -> None:
        """Raise `InvalidRole` for a role that must not be handed to a pod."""
        if (role.account, role.name) in self.reserved:
            raise InvalidRole(
                f"{ROLE_ANNOTATION} is {role.arn!r}, the credential server's own role; expected a role for this pod"
            )
        if self.partition is not None and role.partition != self.partition:
            raise InvalidRole(
                f"{ROLE_ANNOTATION} is {role.arn!r}, of the partition {role.partition!r}; "
                f"expected a role of the partition {self.partition!r}, in which this cluster runs"
            )

    def keeps(self, binding: "Binding") -> bool:
        """Whether a binding, made under whatever policy, is the same under this one."""
        if binding.role is None:
            return not binding.problem
        try:
            self.check(binding.role)
        except InvalidRole:
            return False
        return True


class Binding(msgspec.Struct, frozen=True):
    """What a ServiceAccount's annotations come to: a role, a problem, or neither."""

    account: ServiceAccount
    role: Role | None = None
    key: RoleKey | None = None
    problem: str = ""


class AccountTable:
    """Owns what is known of ServiceAccounts. A handler of the ServiceAccounts watch."""

    def __init__(self, *, waits: Waits, sink: RoleSink, users: Callable[[str, str], int]) -> None:
        self._waits = waits
        self._sink = sink
        self._users = users
        self._policy = RolePolicy()
        self._bindings: dict[tuple[str, str], Binding] = {}

    def __len__(self) -> int:
        return len(self._bindings)

    def get(self, *, namespace: str, name: str) -> Binding | None:
        """What this ServiceAccount's annotations come to; None while it is not known."""
        return self._bindings.get((namespace, name))

    def bind(self, account: ServiceAccount) -> Binding:
        """What an account's annotations come to under the policy in force."""
        if account.role_arn is None:
            return Binding(account)
        try:
            role = parse_role_arn(account.role_arn)
            external_id = None if account.external_id is None else parse_external_id(account.external_id)
            self._policy.check(role)
        except InvalidRole as error:
            return Binding(account, problem=str(error))
        session = session_name(namespace=account.namespace, service_account=account.name)
        return Binding(account, role=role, key=RoleKey(role.arn, external_id, session))

    def changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        """Take in one change of the watch (its handler)."""
        if new is not None:
            self._rebind(new)
        elif old is not None:
            gone = self._bindings.pop((old.namespace, old.name), None)
            self._exchange(gone, None)
            self._waits.wake(account_key(namespace=old.namespace, name=old.name))

    def pods_changed(self, namespace: str, name: str, pods: int) -> None:
        """Pass on how many pods use the role that this ServiceAccount names."""
        binding = self._bindings.get((namespace, name))
        if binding is not None and binding.key is not None:
            self._sink.use(binding.key, pods)

    def set_policy(self, policy: RolePolicy) -> None:
        """Put a policy in force, for the ServiceAccounts already known as well."""
        if policy == self._policy:
            return
        self._policy = policy
        # Only what comes out differently: rebinding all 10,000 of a large cluster would block everybody for 22 ms.
        for binding in [each for each in self._bindings.values() if not policy.keeps(each)]:
            self._rebind(binding.account)

    def _rebind(self, account: ServiceAccount) -> None:
        before = self._bindings.get((account.namespace, account.name))
        after = self.bind(account)
        self._bindings[account.namespace, account.name] = after
        self._exchange(before, after)
        self._waits.wake(account_key(namespace=account.namespace, name=account.name))

    def _exchange(self, before: Binding | None, after: Binding | None) -> None:
        old = None if before is None else before.key
        new = None if after is None else after.key
        if old == new:
            return
        if new is not None and after is not None:
            account = after.account
            self._sink.hold(new, namespace=account.namespace)
            self._sink.use(new, self._users(account.namespace, account.name))
        if old is not None:
            self._sink.release(old)
