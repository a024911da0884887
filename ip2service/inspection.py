"""What a node does with pods' metadata traffic now, in words: a pure function of what the kernel has.

It asks neither the API server nor the router: both may be down, and what the kernel does is what counts.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ip2service.differences import structure_drift
from ip2service.kernel_protocols import Snapshot, TableState
from ip2service.layout import Contents, Family, Layout, Mode
from ip2service.policy_rules import PolicyRule, wanted_rules
from ip2service.ruleset import GUARD_TABLE, ROUTING_TABLE, Elements, guard_table, owner_comment, routing_table

_BOOT: Final = "boot"
_EXCERPT: Final = 100
"""Characters of a difference that a line for people shows."""


class Level(StrEnum):
    """What a finding means."""

    GOOD = "good"
    NOTE = "note"
    """Worth knowing; nothing is wrong now."""
    BAD = "bad"
    """Pods can reach the real metadata service, or get nothing."""


@dataclass(frozen=True)
class Finding:
    """One thing about the node."""

    level: Level
    about: str
    text: str
    detail: str = ""
    """What a line has no place for."""


def findings(
    found: Snapshot,
    layout: Layout,
    *,
    rule_priority: int,
    refusing: Collection[PolicyRule] = (),
    bypass: str = "",
    bypass_accepted: bool = False,
) -> list[Finding]:
    """Everything there is to say.

    `refusing`: the policy rules that refuse pods, at whatever priority. `bypass`: why packets seem to be led past the
    rules; empty if they do not.
    """
    return [
        *_guard(found.tables.get(GUARD_TABLE), layout),
        *_policy(found, layout, rule_priority),
        *_other_policy(sorted(rule.command("delete") for rule in refusing if rule not in found.policy)),
        *_routing(found.tables.get(ROUTING_TABLE), layout),
        *([Finding(Level.NOTE if bypass_accepted else Level.BAD, "bypass", bypass)] if bypass else []),
    ]


def _guard(table: TableState | None, layout: Layout) -> Iterator[Finding]:
    if table is None:
        remedy = "start the router, and install the boot rules (`ip2service boot-rules`)"
        yield Finding(Level.BAD, "guard", f"there is none: pods can reach the real metadata service; {remedy}")
        return
    if not _is_ours(GUARD_TABLE, table):
        yield _foreign("guard", GUARD_TABLE)
        return
    origin = table.comment.rpartition(" ")[2]
    differences = list(_structure("guard", GUARD_TABLE, guard_table(layout, origin=origin), table))
    yield from differences
    if not differences:
        refused = sum(table.packets.values())
        by = "boot rules" if origin == _BOOT else "router"
        yield Finding(Level.GOOD, "guard", f"in place, installed by the {by}; it has refused {refused} packets")
    if origin != _BOOT:
        text = (
            "the guard was not installed at boot: without boot rules, pods that start before the router reach the real "
            "metadata service after a reboot; install the boot rules, `ip2service boot-rules`"
        )
        yield Finding(Level.NOTE, "boot rules", text)


def _policy(found: Snapshot, layout: Layout, rule_priority: int) -> Iterator[Finding]:
    wanted = wanted_rules(layout, Contents(), priority=rule_priority)
    missing = sorted(f"`{rule.command('add')}`" for rule in wanted - found.policy)
    if missing:
        text = f"missing: {', '.join(missing)}; nothing refuses pods when another program flushes nftables"
        yield Finding(Level.BAD, "policy rules", text)
    else:
        yield Finding(Level.GOOD, "policy rules", f"in place, at priorities from {rule_priority} on")


def _other_policy(commands: Collection[str]) -> Iterator[Finding]:
    if commands:
        text = (
            "others, at another priority, refuse pods, too: an earlier --rule-priority leaves such rules; if these "
            f"settings are the router's, delete them with {', '.join(f'`{command}`' for command in commands)}"
        )
        yield Finding(Level.NOTE, "policy rules", text)


def _routing(table: TableState | None, layout: Layout) -> Iterator[Finding]:
    if table is None:
        yield Finding(Level.BAD, "routing", "there is none: pods get no credentials on this node; start the router")
        return
    if not _is_ours(ROUTING_TABLE, table):
        yield _foreign("routing", ROUTING_TABLE)
        return
    yield from _structure("routing", ROUTING_TABLE, routing_table(layout), table)
    for family in layout.intercepted:
        yield _route(table.elements, layout, family)
    exempt = sum(len(_keys(table.elements, f"exempt{family.value}")) for family in layout.intercepted)
    if exempt:
        yield Finding(Level.NOTE, "exempt", f"addresses of server pods that reach the real metadata service: {exempt}")


def _route(elements: Elements, layout: Layout, family: Family) -> Finding:
    about, address = f"IPv{family.value}", f"{layout.intercepted[family]} port {layout.intercepted_port}"
    frontend = next(iter(_keys(elements, f"open{family.value}").values()), "")
    # A cluster of one family is the rule: that the other one leads nowhere is no trouble.
    others = [other.value for other in layout.intercepted if other is not family]
    another_leads = any(_keys(elements, f"open{number}") for number in others)
    another_is_open = any(_keys(elements, f"opening{number}") for number in others)
    if not frontend:
        text = f"{address} leads nowhere and is refused to pods: the Service has no {about} address, or is not there"
        return Finding(Level.NOTE if another_leads else Level.BAD, about, text)
    endpoints = len(set(_keys(elements, f"endpoints{family.value}").values()))
    chosen = f" (servers chosen here: {endpoints})" if layout.mode is Mode.ENDPOINTS else ""
    where = f"{address} leads to {frontend} port {layout.router_port}{chosen}"
    if _keys(elements, f"opening{family.value}"):
        return Finding(Level.GOOD, about, f"{where}; new connections are let in")
    # A cluster IP of the family says that the cluster has it; a stand-in says nothing.
    level = Level.NOTE if another_is_open and layout.mode is Mode.ENDPOINTS else Level.BAD
    return Finding(level, about, f"{where}, but no server is ready: new connections are refused")


def _structure(about: str, name: str, wanted: str, table: TableState) -> Iterator[Finding]:
    for drift in structure_drift(name, wanted, table.structure):
        text = (
            f"differs from what these settings make: are they the router's? If so, it was changed: {_cut(drift.detail)}"
        )
        yield Finding(Level.BAD, about, text, drift.detail)


def _cut(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}... (more with --json)"


def _is_ours(name: str, table: TableState) -> bool:
    return table.comment.startswith(owner_comment(name))


def _foreign(about: str, name: str) -> Finding:
    text = f"table inet {name} belongs to somebody else; look at it with `nft list table inet {name}`"
    return Finding(Level.BAD, about, text)


def _keys(elements: Elements, name: str) -> Mapping[str, str]:
    return elements.get(f"{ROUTING_TABLE} {name}", {})
