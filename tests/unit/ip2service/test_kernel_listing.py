"""What libnftables prints as JSON, read."""

import json
from typing import Any

import pytest

from ip2service.kernel.listing import UnknownListing, parse_listing
from ip2service.ruleset import TIMED


def listing(*objects: dict[str, Any], schema: int = 1) -> str:
    """As libnftables prints it."""
    metainfo = {"metainfo": {"version": "1.0.6", "json_schema_version": schema}}
    return json.dumps({"nftables": [metainfo, {"table": {"family": "inet", "name": "t"}}, *objects]})


def elements(kind: str, *values: Any) -> dict[str, str]:
    """Those of one set or map."""
    return parse_listing(listing({kind: {"name": "s", "elem": list(values)}})).elements("t")["t s"]


@pytest.mark.parametrize(
    ("kind", "element", "key", "value"),
    [
        ("set", "10.0.0.1", "10.0.0.1", ""),
        ("set", {"concat": ["10.0.0.1", 80]}, "10.0.0.1 . 80", ""),
        ("set", {"elem": {"val": "10.0.0.1", "timeout": 60, "expires": 59}}, "10.0.0.1", TIMED),
        ("set", {"elem": {"val": {"concat": ["fd00::1", 80]}, "timeout": 60}}, "fd00::1 . 80", TIMED),
        ("set", {"elem": {"val": "10.0.0.1", "comment": "by hand"}}, "10.0.0.1", ""),
        ("map", [{"concat": ["10.0.0.1", 80]}, "10.0.0.2"], "10.0.0.1 . 80", "10.0.0.2"),
        ("map", [7, {"concat": ["10.0.0.2", 8080]}], "7", "10.0.0.2 . 8080"),
        ("map", [{"elem": {"val": 7, "timeout": 60}}, "10.0.0.2"], "7", "10.0.0.2"),
        ("set", {"range": ["10.0.0.1", "10.0.0.9"]}, '{"range":["10.0.0.1","10.0.0.9"]}', ""),
        ("map", ["10.0.0.1", {"drop": None}], "10.0.0.1", '{"drop":null}'),
    ],
)
def test_every_shape_of_an_element_is_read(kind: str, element: Any, key: str, value: str) -> None:
    """Key and value are as they are written in rules; what none of our sets can hold stays JSON."""
    assert elements(kind, element) == {key: value}


def test_a_set_without_elements_is_empty() -> None:
    """It is there all the same."""
    assert parse_listing(listing({"set": {"name": "s"}})).elements("t") == {"t s": {}}


def test_counters_are_added_up_by_chain() -> None:
    """A rule without a counter counts nothing, and a named counter is none of the rule's own."""
    rules = [
        {"rule": {"chain": "a", "expr": [{"match": {}}, {"counter": {"packets": 2, "bytes": 9}}]}},
        {"rule": {"chain": "a", "expr": [{"counter": {"packets": 3, "bytes": 9}}, {"accept": None}]}},
        {"rule": {"chain": "b", "expr": [{"counter": "named"}, {"drop": None}]}},
    ]
    assert parse_listing(listing(*rules)).packets() == {"a": 5, "b": 0}


@pytest.mark.parametrize("text", ["", "{}", '{"nftables": []}', '{"nftables": [{"set": {}}]}', listing(schema=2)])
def test_another_schema_is_told(text: str) -> None:
    """What is not the JSON that is known here is an error and never an empty table."""
    with pytest.raises(UnknownListing, match="libnftables"):
        parse_listing(text)
