"""Policy rules in the real kernel, beside those of others."""

import contextlib
import subprocess

import pytest

from iam4kube.kube.objects import Address
from iam4kube.sandbox.network import Namespace
from iam4kube.sandbox.network.commands import configure
from ip2service.kernel.netlink import Netlink, NetlinkRefused
from ip2service.kernel.policy_rules import PolicyRules
from ip2service.layout import Contents, Family, Layout, Route
from ip2service.policy_rules import PolicyRule, wanted_rules
from tests.support.capabilities import drop_net_admin

pytestmark = pytest.mark.netns

PRIORITY = 89
LAYOUT = Layout()
EXEMPT = Contents(
    routes={
        Family.IPV4: Route(exempt=frozenset({Address("10.1.0.5"), Address("10.1.0.6")})),
        Family.IPV6: Route(exempt=frozenset({Address("fd00:10:1::5")})),
    }
)
WANTED = wanted_rules(LAYOUT, EXEMPT, priority=PRIORITY)

FOREIGN = (
    "pref 90 to 169.254.169.254 fwmark 0x5 prohibit",
    "pref 89 not to 169.254.169.254 prohibit",
    "pref 91 to 169.254.169.254 ipproto udp prohibit",
    "pref 91 to 169.254.0.0/16 prohibit",
    "pref 91 to 169.254.169.253 prohibit",
    "pref 91 to 169.254.169.254 blackhole",
    "pref 90 to 169.254.169.254 lookup 100",
    "pref 90 iif eth7 to 169.254.169.254 lookup main",
    "pref 90 iif lo to 169.254.169.254 lookup main suppress_prefixlength 0",
    "pref 92 to 169.254.169.254 prohibit",
    "pref 512 from all lookup main",
)


@pytest.fixture
def rules(netlink: Netlink) -> PolicyRules:
    """Those of the default layout."""
    return PolicyRules(netlink, intercepted=LAYOUT.intercepted, priority=PRIORITY)


def listed(namespace: Namespace, family: Family) -> list[str]:
    """What `ip rule` shows, but for the three that every namespace has."""
    command = namespace.command("ip", f"-{family.value}", "-details", "rule")
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()
    return [" ".join(line.split()) for line in lines if not line.startswith(("0:", "32766:", "32767:"))]


def run_ip(namespace: Namespace, rule: PolicyRule, origin: str) -> None:
    """`ip rule add`."""
    arguments = ("ip", f"-{rule.family.value}", "rule", "add", *str(rule).split(), *origin.split())
    subprocess.run(namespace.command(*arguments), check=True, timeout=10)


async def add_all(rules: PolicyRules) -> None:
    """In the order of their priorities."""
    for rule in sorted(WANTED, key=lambda rule: rule.priority):
        await rules.add(rule)


async def test_what_is_added_is_read_back(namespace: Namespace, rules: PolicyRules) -> None:
    """All rules of both families are read as they were added, and `ip rule` shows them as documented.

    As the kernel's own: systemd-networkd deletes all others.
    """
    assert await rules.read() == frozenset()
    await add_all(rules)
    assert await rules.read() == WANTED
    assert listed(namespace, Family.IPV6) == [
        "89: from fd00:10:1::5 to fd00:ec2::254 lookup main proto kernel",
        "90: from all to fd00:ec2::254 iif lo lookup main proto kernel",
        "91: from all to fd00:ec2::254 prohibit proto kernel",
    ]


async def test_adding_and_deleting_twice_is_fine(namespace: Namespace, rules: PolicyRules) -> None:
    """A rule that is there is not added again, and one that is not there is not missed."""
    await add_all(rules)
    await add_all(rules)
    assert len(listed(namespace, Family.IPV4)) == 4
    for _ in range(2):
        for rule in WANTED:
            await rules.delete(rule)
    assert await rules.read() == frozenset()
    assert listed(namespace, Family.IPV4) == listed(namespace, Family.IPV6) == []


@pytest.mark.parametrize("origin", ["", " protocol static", " protocol kernel"])
async def test_the_same_rule_of_another_origin_is_the_same(
    namespace: Namespace, rules: PolicyRules, origin: str
) -> None:
    """What `ip rule` adds from a rule's text, at boot say, is read as that rule, not added again, and deleted."""
    for rule in sorted(WANTED, key=lambda rule: rule.priority):
        run_ip(namespace, rule, origin)
    assert await rules.read() == WANTED
    await add_all(rules)
    assert len(listed(namespace, Family.IPV4)) == 4
    for rule in WANTED:
        await rules.delete(rule)
    assert listed(namespace, Family.IPV4) == listed(namespace, Family.IPV6) == []


async def test_other_rules_are_neither_seen_nor_touched(namespace: Namespace, rules: PolicyRules) -> None:
    """Rules with any other selector, action, priority or destination are not ours, at our priorities either."""
    configure(namespace, *(f"rule add {rule}" for rule in FOREIGN))
    foreign = listed(namespace, Family.IPV4)
    assert len(foreign) == len(FOREIGN)
    assert await rules.read() == frozenset()
    await add_all(rules)
    assert await rules.read() == WANTED
    assert set(foreign) < set(listed(namespace, Family.IPV4))


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_deleting_ours_deletes_no_other(namespace: Namespace, rules: PolicyRules, foreign: str) -> None:
    """The kernel deletes the first rule that has what a request names: where that may be another's, ours stays."""
    configure(namespace, f"rule add {foreign}")
    other = listed(namespace, Family.IPV4)
    await add_all(rules)
    for rule in WANTED:
        with contextlib.suppress(NetlinkRefused):
            await rules.delete(rule)
    assert set(other) <= set(listed(namespace, Family.IPV4))


@pytest.mark.parametrize("selector", ["not to 169.254.169.254", "from 10.0.0.0/8 to 169.254.169.254"])
async def test_a_rule_in_the_way_is_told(namespace: Namespace, rules: PolicyRules, selector: str) -> None:
    """The kernel takes some rules for the same as ours that are not: then ours does not count as added."""
    configure(namespace, f"rule add pref 91 {selector} prohibit protocol kernel")
    with pytest.raises(NetlinkRefused, match=r"File exists; .*--rule-priority"):
        await add_all(rules)


async def test_without_the_capability_the_message_names_it(namespace: Namespace) -> None:
    """Adding without NET_ADMIN says which rule and which capability."""

    def enter() -> None:
        namespace.enter()
        drop_net_admin()

    async with Netlink(enter=enter) as netlink:
        rules = PolicyRules(netlink, intercepted=LAYOUT.intercepted, priority=PRIORITY)
        assert await rules.read() == frozenset()
        with pytest.raises(NetlinkRefused, match=r"'pref 9.*Operation not permitted; the capability NET_ADMIN"):
            await rules.add(next(rule for rule in WANTED if rule.priority == PRIORITY + 1))
