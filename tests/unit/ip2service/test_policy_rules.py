"""The policy rules that are wanted, as `ip rule` reads them."""

import pytest

from iam4kube.kube.objects import Address
from ip2service.layout import Contents, Family, Layout, Route
from ip2service.policy_rules import priorities, wanted_rules

EXEMPT = Contents(
    routes={
        Family.IPV4: Route(exempt=frozenset({Address("10.1.0.5"), Address("10.1.0.6")})),
        Family.IPV6: Route(exempt=frozenset({Address("fd00:10:1::5")})),
    }
)


def texts(layout: Layout, contents: Contents, family: Family, *, priority: int = 89) -> list[str]:
    """A family's rules in the order of their priorities."""
    return sorted(str(rule) for rule in wanted_rules(layout, contents, priority=priority) if rule.family is family)


def test_the_rules_of_both_families() -> None:
    """Exempt pods first, then the node itself, then a refusal for everybody else."""
    assert texts(Layout(), EXEMPT, Family.IPV4) == [
        "pref 89 from 10.1.0.5 to 169.254.169.254 lookup main",
        "pref 89 from 10.1.0.6 to 169.254.169.254 lookup main",
        "pref 90 iif lo to 169.254.169.254 lookup main",
        "pref 91 to 169.254.169.254 prohibit",
    ]
    assert texts(Layout(), EXEMPT, Family.IPV6) == [
        "pref 89 from fd00:10:1::5 to fd00:ec2::254 lookup main",
        "pref 90 iif lo to fd00:ec2::254 lookup main",
        "pref 91 to fd00:ec2::254 prohibit",
    ]


def test_priorities_begin_where_the_setting_says() -> None:
    """Three consecutive ones."""
    rules = wanted_rules(Layout(), EXEMPT, priority=300)
    assert {rule.priority for rule in rules} == set(priorities(300)) == {300, 301, 302}


@pytest.mark.parametrize("family", Family)
def test_a_family_that_is_not_intercepted_has_no_rules(family: Family) -> None:
    """Exempt pods of that family included."""
    layout = Layout(intercepted={family: Layout().intercepted[family]})
    assert {rule.family for rule in wanted_rules(layout, EXEMPT, priority=89)} == {family}


@pytest.mark.parametrize("contents", [Contents(), EXEMPT])
def test_every_prefix_of_the_order_lets_the_node_pass(contents: Contents) -> None:
    """Added one by one in the order of priorities, the refusal is never there without the node's own way out."""
    rules = sorted(wanted_rules(Layout(), contents, priority=89), key=lambda rule: rule.priority)
    for count in range(len(rules) + 1):
        present = {str(rule).split(" ", 2)[2] for rule in rules[:count]}
        for address in Layout().intercepted.values():
            assert f"to {address} prohibit" not in present or f"iif lo to {address} lookup main" in present
