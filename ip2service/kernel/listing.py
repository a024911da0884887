"""What `nft --json list table` prints, as elements and packet counts. Pure.

The structure of a table is compared as text, which is what it was written as. Elements are taken from the JSON: a
text listing breaks them over lines, and adds what remains of a timeout.
"""

from typing import Any, Final

import msgspec

from ip2service.ruleset import TIMED

_SCHEMA: Final = 1  # of libnftables 0.9 to 1.1


class UnknownListing(Exception):
    """libnftables prints another schema than the one that is known here."""


class _Metainfo(msgspec.Struct, frozen=True):
    json_schema_version: int


class _Set(msgspec.Struct, frozen=True):
    """A set, or a map."""

    name: str
    elem: list[Any] = []


class _Rule(msgspec.Struct, frozen=True):
    chain: str
    expr: list[dict[str, Any]]


class _Object(msgspec.Struct, frozen=True):
    """One of these. Others, such as chains, have nothing that the text does not say."""

    metainfo: _Metainfo | None = None
    set: _Set | None = None
    map: _Set | None = None
    rule: _Rule | None = None


class Listing(msgspec.Struct, frozen=True):
    """All objects of a table."""

    nftables: list[_Object]

    def elements(self, table: str) -> dict[str, dict[str, str]]:
        """By "TABLE NAME" of a set or map: each element's key and its value, as `ruleset.Elements`."""
        sets = [(each.set or each.map) for each in self.nftables]
        return {f"{table} {each.name}": dict(map(_element, each.elem)) for each in sets if each is not None}

    def packets(self) -> dict[str, int]:
        """By chain: the sum of its rules' counters. A chain without rules is not among them."""
        counts: dict[str, int] = {}
        for rule in (each.rule for each in self.nftables if each.rule is not None):
            counters = [part["counter"] for part in rule.expr if isinstance(part.get("counter"), dict)]
            counts[rule.chain] = counts.get(rule.chain, 0) + sum(counter["packets"] for counter in counters)
        return counts


def parse_listing(text: str) -> Listing:
    """Raises `UnknownListing`."""
    try:
        listing = msgspec.json.decode(text, type=Listing)
    except msgspec.DecodeError as error:
        raise UnknownListing(f"libnftables' JSON cannot be read: {error}") from error
    versions = {each.metainfo.json_schema_version for each in listing.nftables if each.metainfo is not None}
    if versions != {_SCHEMA}:
        raise UnknownListing(f"libnftables' JSON schema is {sorted(versions)}, and only {_SCHEMA} is known")
    return listing


def _element(element: Any) -> tuple[str, str]:
    """Key and value of `key`, `[key, value]`, and either with {"elem": {"val": key, "timeout": ...}} for the key."""
    key, value = element if isinstance(element, list) else (element, None)
    timed = False
    if isinstance(key, dict) and "elem" in key:
        timed = "timeout" in key["elem"]
        key = key["elem"]["val"]
    if value is not None:
        return _text(key), _text(value)
    return _text(key), TIMED if timed else ""


def _text(value: Any) -> str:
    """As rules are written.

    What none of our sets can hold (a range, a prefix, a verdict) is kept as JSON. It equals nothing that is wanted, so
    it counts as drift: it is neither passed over, nor does it keep anybody from repairing the table.
    """
    match value:
        case str() | int():
            return str(value)
        case {"concat": [*parts]}:
            return " . ".join(map(_text, parts))
        case _:
            return msgspec.json.encode(value).decode()
