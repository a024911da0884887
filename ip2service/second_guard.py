"""The policy rules in the kernel: compared with what should be there, and repaired.

A guard of its own. The tables do not wait for it, nor it for them, and of its rules none for another: the kernel may
refuse one because of somebody else's rule, for as long as that is there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ip2service.differences import Drift, policy_drift
from ip2service.kernel_protocols import KernelError, PolicyRouting
from ip2service.layout import Contents, Layout
from ip2service.policy_rules import Action, PolicyRule, wanted_rules


class SecondGuard:
    """Owns the belief about the policy rules of one node."""

    def __init__(self, layout: Layout, *, rule_priority: int, policy: PolicyRouting) -> None:
        self._layout = layout
        self._rule_priority = rule_priority
        self._policy = policy
        self.rules: frozenset[PolicyRule] = frozenset()
        """Those that are there, as far as is known."""

    async def look(self) -> tuple[Drift, ...]:
        """Read what is there. Returns in what it differs from what was known. Raises `KernelError`."""
        known, self.rules = self.rules, await self._policy.read()
        return tuple(policy_drift(known, self.rules))

    async def bring_to(self, contents: Contents) -> None:
        """Make what is known to be there what should be: of the contents, who is exempt.

        Raises the first `KernelError` when everything else is done.
        """
        wanted = wanted_rules(self._layout, contents, priority=self._rule_priority)
        refused: list[KernelError] = []
        for rule in sorted(wanted - self.rules, key=_priority):
            if self._may_add(rule):
                with _kept(refused):
                    await self._policy.add(rule)
                    self.rules |= {rule}
        for rule in sorted(self.rules - wanted, key=_priority, reverse=True):
            with _kept(refused):
                await self._policy.delete(rule)
                self.rules -= {rule}
        if refused:
            raise refused[0]

    def _may_add(self, rule: PolicyRule) -> bool:
        """What refuses never comes without what lets the node itself pass."""
        ways_out = (each for each in self.rules if each.family is rule.family and each.local_only)
        return rule.action is not Action.PROHIBIT or any(ways_out)


@contextmanager
def _kept(refused: list[KernelError]) -> Iterator[None]:
    try:
        yield
    except KernelError as error:
        refused.append(error)


def _priority(rule: PolicyRule) -> int:
    return rule.priority
