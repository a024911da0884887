"""In what the kernel's state differs from what was installed: for a counter and for a log line that people read."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ip2service.policy_rules import PolicyRule
from ip2service.ruleset import TIMED, Elements

DETAIL_LIMIT: Final = 400
"""Characters of a log line that say what differed."""


@dataclass(frozen=True)
class Drift:
    """One thing that somebody else has changed."""

    what: str
    """`table`, `elements` or `policy`: a metric's label."""
    where: str
    """The table, set or family."""
    detail: str
    """What differed, with the foreign part after "+" and the missing part after "-"."""


def structure_drift(table: str, expected: str, found: str | None) -> Iterator[Drift]:
    """A table that is missing, or has other chains, rules or sets."""
    if found is None:
        yield Drift("table", table, "the table is gone")
    elif found != expected:
        lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), lineterm="", n=0)
        changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
        yield Drift("table", table, _shortened("; ".join(line.replace("\t", "") for line in changed)))


def element_drift(expected: Elements, found: Elements) -> Iterator[Drift]:
    """Elements that are missing, foreign or have another value. One that expires by itself may be gone already."""
    for name, keys in expected.items():
        if name not in found:
            continue  # its table is gone or was made anew: that is told already
        missing = [(key, value) for key, value in keys.items() if value not in (TIMED, found[name].get(key))]
        foreign = [(key, value) for key, value in found[name].items() if value != keys.get(key)]
        changes = [f"-{_pair(*each)}" for each in sorted(missing)]
        changes += [f"+{_pair(*each)}" for each in sorted(foreign)]
        if changes:
            yield Drift("elements", name, _shortened("; ".join(changes)))


def policy_drift(expected: frozenset[PolicyRule], found: frozenset[PolicyRule]) -> Iterator[Drift]:
    """Policy rules that are missing, or are there and should not be."""
    changes = [f"-{rule}" for rule in sorted(map(str, expected - found))]
    changes += [f"+{rule}" for rule in sorted(map(str, found - expected))]
    if changes:
        yield Drift("policy", "ip rule", _shortened("; ".join(changes)))


def _pair(key: str, value: str) -> str:
    if value == TIMED:
        return f"{key} {value}"
    return f"{key} : {value}" if value else key


def _shortened(text: str) -> str:
    return text if len(text) <= DETAIL_LIMIT else f"{text[:DETAIL_LIMIT]}..."
