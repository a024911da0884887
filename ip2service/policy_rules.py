"""The second guard: policy routing refuses what nftables would, even after somebody's `nft flush ruleset`.

    5: from SERVER-POD to 169.254.169.254 lookup main     exempt pods, one rule each
    6: iif lo to 169.254.169.254 lookup main              the node itself
    7: to 169.254.169.254 prohibit                        everybody else: refused

A packet that the routing table has rewritten is addressed to somebody else by the time it is routed. Rules have no
timeout, unlike exempt elements: behind the first line the guard's table stands, and there they expire.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from iam4kube.kube.objects import Address
from ip2service.layout import Contents, Family, Layout


class Action(Enum):
    """What becomes of a packet that a rule matches. The values are iproute2's words."""

    MAIN = "lookup main"
    PROHIBIT = "prohibit"


@dataclass(frozen=True, kw_only=True)
class PolicyRule:
    """A rule about one intercepted address. Its text is what follows `ip -4 rule add`."""

    family: Family
    priority: int
    destination: Address
    source: Address | None = None
    """None for any."""
    local_only: bool = False
    """Whether it applies to the node's own packets only: `iif lo`."""
    action: Action

    def command(self, verb: str) -> str:
        """What adds or deletes it by hand."""
        return f"ip -{self.family.value} rule {verb} {self}"

    def __str__(self) -> str:
        source = f"from {self.source} " if self.source is not None else ""
        interface = "iif lo " if self.local_only else ""
        return f"pref {self.priority} {source}{interface}to {self.destination} {self.action.value}"


def priorities(first: int) -> range:
    """The priorities of our rules, where `first` is that of exempt pods' rules."""
    return range(first, first + 3)


def wanted_rules(layout: Layout, contents: Contents, *, priority: int) -> frozenset[PolicyRule]:
    """All rules for these contents, from this priority on.

    In the order of their priorities they can be added one by one, and removed in the reverse order: what refuses is
    never there without what lets the node itself pass. Where nobody knows who should be exempt, nobody is.
    """
    return frozenset(
        rule for family in layout.intercepted for rule in _family_rules(layout, contents, family, priority)
    )


def _family_rules(layout: Layout, contents: Contents, family: Family, priority: int) -> Iterator[PolicyRule]:
    destination = layout.intercepted[family]
    exempt, node, others = priorities(priority)
    for source in contents.route(family).exempt or ():
        yield PolicyRule(family=family, priority=exempt, source=source, destination=destination, action=Action.MAIN)
    yield PolicyRule(family=family, priority=node, local_only=True, destination=destination, action=Action.MAIN)
    yield PolicyRule(family=family, priority=others, destination=destination, action=Action.PROHIBIT)
