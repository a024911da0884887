"""Policy rules: those of ours that the kernel has, and what adds and deletes one."""

import errno
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.fibmsg import FR_ACT_PROHIBIT, FR_ACT_TO_TBL

from iam4kube.kube.addresses import canonical_address
from iam4kube.kube.objects import Address
from ip2service.kernel.netlink import Netlink, NetlinkRefused
from ip2service.layout import Family
from ip2service.policy_rules import Action, PolicyRule, priorities

FAMILY_NUMBERS: Final = {Family.IPV4: int(socket.AF_INET), Family.IPV6: int(socket.AF_INET6)}
_ADDRESS_BITS: Final = {Family.IPV4: 32, Family.IPV6: 128}
_MAIN: Final = 254  # linux/rtnetlink.h
_KERNEL: Final = 2  # RTPROT_KERNEL, linux/rtnetlink.h
_LOOPBACK: Final = "lo"
_INVERT: Final = 0x2  # linux/fib_rules.h: "not from ..."
_NOTHING_SUPPRESSED: Final = 0xFFFFFFFF
# A rule with any other attribute, say a packet mark, applies to fewer packets than one of ours: it is none.
_ATTRIBUTES: Final = frozenset(
    f"FRA_{name}" for name in ("DST", "SRC", "IIFNAME", "PRIORITY", "TABLE", "SUPPRESS_PREFIXLEN", "PROTOCOL", "PAD")
)


class PolicyRules:
    """Rules at our priorities that are about an intercepted address. All others are nobody's business here."""

    def __init__(self, netlink: Netlink, *, intercepted: Mapping[Family, Address], priority: int) -> None:
        """`priority` is the first of ours: see `ip2service.policy_rules`."""
        self._netlink = netlink
        self._intercepted = intercepted
        self._priorities = priorities(priority)

    async def read(self) -> frozenset[PolicyRule]:
        """What there is. Raises `NetlinkRefused`, `KernelStuck`."""
        return await self._netlink.run("policy rules cannot be read", self._read)

    async def read_refusing(self) -> frozenset[PolicyRule]:
        """Those that refuse an intercepted address, at any priority. Raises `NetlinkRefused`, `KernelStuck`."""
        return await self._netlink.run("policy rules cannot be read", self._read_refusing)

    async def add(self, rule: PolicyRule) -> None:
        """Add one; fine if it is there. Raises `NetlinkRefused`, `KernelStuck`."""
        await self._netlink.run(f"policy rule {str(rule)!r} cannot be added", lambda: self._add(rule))

    async def delete(self, rule: PolicyRule) -> None:
        """Delete one; fine if it is not there. Raises `NetlinkRefused`, `KernelStuck`."""
        await self._netlink.run(f"policy rule {str(rule)!r} cannot be deleted", lambda: self._delete(rule))

    def _read(self) -> frozenset[PolicyRule]:
        with IPRoute() as route:
            return frozenset(rule for family in self._intercepted for rule in self._dump(route, family))

    def _read_refusing(self) -> frozenset[PolicyRule]:
        refusing = {(Action.PROHIBIT, address) for address in self._intercepted.values()}
        with IPRoute() as route:
            read = [_rule_of(each, family) for family in self._intercepted for each in _messages(route, family)]
        return frozenset(rule for rule in read if rule is not None and (rule.action, rule.destination) in refusing)

    def _add(self, rule: PolicyRule) -> None:
        with IPRoute() as route:
            # The kernel's own "File exists" does not tell: for a rule of another origin (FRA_PROTOCOL) it adds a second
            # one, and it takes "not to ..." or "from 10.0.0.0/8 to ..." for "to ...".
            if rule not in self._dump(route, rule.family):
                # systemd-networkd deletes the rules of every other origin, as it starts and as links come (systemd
                # issue 19106, aws/amazon-vpc-cni-k8s issue 1600).
                route.rule("add", **_arguments(rule), protocol=_KERNEL)

    def _delete(self, rule: PolicyRule) -> None:
        with IPRoute() as route:
            alike = [_rule_of(each, rule.family) for each in _messages(route, rule.family) if _is_alike(each, rule)]
            if rule in alike and None in alike:
                # The kernel deletes the first one that has what is given: a request cannot say "and no packet mark".
                raise NetlinkRefused(f"policy rule {str(rule)!r} stays: another of its priority might go in its place")
            for _ in range(alike.count(rule)):
                _delete(route, rule)

    def _dump(self, route: IPRoute, family: Family) -> Iterator[PolicyRule]:
        for rule in (_rule_of(message, family) for message in _messages(route, family)):
            if rule is not None and self._is_ours(rule):
                yield rule

    def _is_ours(self, rule: PolicyRule) -> bool:
        return rule.priority in self._priorities and rule.destination == self._intercepted.get(rule.family)


def _messages(route: IPRoute, family: Family) -> list[Any]:
    return list(route.get_rules(family=FAMILY_NUMBERS[family]))


def _is_alike(message: Any, rule: PolicyRule) -> bool:
    attributes = dict(message["attrs"])
    return (attributes.get("FRA_PRIORITY"), attributes.get("FRA_DST")) == (rule.priority, rule.destination)


def _delete(route: IPRoute, rule: PolicyRule) -> None:
    try:
        route.rule("delete", **_arguments(rule))
    except NetlinkError as error:
        if error.code != errno.ENOENT:  # somebody else was faster
            raise


def _arguments(rule: PolicyRule) -> dict[str, Any]:
    """As `ip rule` fills them in, so that a rule of the boot rules is the same rule."""
    bits = _ADDRESS_BITS[rule.family]
    arguments: dict[str, Any] = {
        "family": FAMILY_NUMBERS[rule.family],
        "priority": rule.priority,
        "dst": rule.destination,
        "dst_len": bits,
    }
    if rule.source is not None:
        arguments |= {"src": rule.source, "src_len": bits}
    if rule.local_only:
        arguments |= {"iifname": _LOOPBACK}
    if rule.action is Action.MAIN:
        return arguments | {"action": FR_ACT_TO_TBL, "table": _MAIN}
    return arguments | {"action": FR_ACT_PROHIBIT}


def _rule_of(message: Any, family: Family) -> PolicyRule | None:
    """The rule in a kernel's message. None if it is of a kind that we do not make."""
    attributes: dict[str, Any] = dict(message["attrs"])
    action = _action(message["action"], attributes)
    addresses = _addresses(message, attributes, family)
    if action is None or addresses is None or message["tos"] or message["flags"] & _INVERT:
        return None
    if not attributes.keys() <= _ATTRIBUTES or attributes.get("FRA_IIFNAME") not in {None, _LOOPBACK}:
        return None
    destination, source = addresses
    return PolicyRule(
        family=family,
        priority=attributes.get("FRA_PRIORITY", 0),
        destination=destination,
        source=source,
        local_only="FRA_IIFNAME" in attributes,
        action=action,
    )


def _action(action: int, attributes: Mapping[str, Any]) -> Action | None:
    if action == FR_ACT_PROHIBIT:
        return Action.PROHIBIT
    suppresses = attributes.get("FRA_SUPPRESS_PREFIXLEN", _NOTHING_SUPPRESSED) != _NOTHING_SUPPRESSED
    to_main = action == FR_ACT_TO_TBL and attributes.get("FRA_TABLE") == _MAIN
    return Action.MAIN if to_main and not suppresses else None


def _addresses(message: Any, attributes: Mapping[str, Any], family: Family) -> tuple[Address, Address | None] | None:
    """Destination and source, of single addresses only."""
    bits = _ADDRESS_BITS[family]
    if message["dst_len"] != bits or message["src_len"] not in {0, bits}:
        return None
    source = attributes.get("FRA_SRC")
    return canonical_address(attributes["FRA_DST"]), canonical_address(source) if source is not None else None
