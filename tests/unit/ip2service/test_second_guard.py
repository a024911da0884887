"""What becomes of the policy rules when the kernel refuses one of them. What the kernel says is in tests/netns."""

from dataclasses import dataclass, field

import pytest

from iam4kube.kube.objects import Address
from ip2service.kernel_protocols import KernelError
from ip2service.layout import Contents, Family, Layout, Route
from ip2service.policy_rules import PolicyRule, wanted_rules
from ip2service.second_guard import SecondGuard

PRIORITY = 5
ONE, OTHER = frozenset({Address("10.1.0.5")}), frozenset({Address("10.1.0.6")})


@dataclass
class StuckPolicy:
    """Refuses whatever has one of these texts."""

    stuck: set[str] = field(default_factory=set)
    rules: set[PolicyRule] = field(default_factory=set)

    async def read(self) -> frozenset[PolicyRule]:
        return frozenset(self.rules)

    async def add(self, rule: PolicyRule) -> None:
        self._check(rule)
        self.rules.add(rule)

    async def delete(self, rule: PolicyRule) -> None:
        self._check(rule)
        self.rules.remove(rule)

    def _check(self, rule: PolicyRule) -> None:
        if str(rule) in self.stuck:
            raise KernelError(f"{rule}: File exists")


def exempting(addresses: frozenset[Address]) -> Contents:
    """Contents with these IPv4 addresses exempt."""
    return Contents(routes={Family.IPV4: Route(exempt=addresses)})


def wanted(addresses: frozenset[Address]) -> set[PolicyRule]:
    """Every rule for them."""
    return set(wanted_rules(Layout(), exempting(addresses), priority=PRIORITY))


async def test_a_rule_that_is_refused_keeps_no_other_waiting() -> None:
    """Neither what is to be added nor what is to go; it is told, and tried again the next time."""
    stuck = "pref 7 to fd00:ec2::254 prohibit"
    policy = StuckPolicy(rules=wanted(ONE))
    policy.rules = {rule for rule in policy.rules if str(rule) != stuck}
    policy.stuck = {stuck}
    guard = SecondGuard(Layout(), rule_priority=PRIORITY, policy=policy)
    await guard.look()
    with pytest.raises(KernelError, match="File exists"):
        await guard.bring_to(exempting(OTHER))
    assert {str(rule) for rule in wanted(OTHER) - policy.rules} == {stuck}
    assert policy.rules <= wanted(OTHER)
    assert await guard.look() == ()
    policy.stuck.clear()
    await guard.bring_to(exempting(OTHER))
    assert policy.rules == wanted(OTHER)


async def test_an_exemption_that_is_refused_to_go_keeps_no_other_waiting() -> None:
    """One of two pods' rules is somebody else's by now."""
    policy = StuckPolicy(rules=wanted(ONE | OTHER), stuck={"pref 5 from 10.1.0.5 to 169.254.169.254 lookup main"})
    guard = SecondGuard(Layout(), rule_priority=PRIORITY, policy=policy)
    await guard.look()
    with pytest.raises(KernelError):
        await guard.bring_to(exempting(frozenset()))
    assert policy.rules == wanted(ONE)


async def test_nothing_refuses_the_node_because_its_way_out_was_refused() -> None:
    """The other family has both."""
    policy = StuckPolicy(stuck={"pref 6 iif lo to 169.254.169.254 lookup main"})
    guard = SecondGuard(Layout(), rule_priority=PRIORITY, policy=policy)
    with pytest.raises(KernelError):
        await guard.bring_to(Contents())
    assert {rule.family for rule in policy.rules} == {Family.IPV6}
    assert len(policy.rules) == 2
