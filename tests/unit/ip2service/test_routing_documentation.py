"""docs/routing.md holds what can be held: rules, places, numbers, commands, settings, metrics, and tests."""

import argparse
import re
from pathlib import Path

import yaml

from ip2service.bypass import UNANSWERED_LIMIT, UNANSWERED_SECONDS
from ip2service.cli.arguments import command_parser
from ip2service.layout import SLOTS, STAND_IN, Contents, Layout, Mode
from ip2service.policy_rules import wanted_rules
from ip2service.reconciler import NOTICE_PAUSE, RENEWAL_PERIOD
from ip2service.ruleset import EXEMPT_TIMEOUT, RETIRED_TIMEOUT, guard_table, routing_table
from ip2service.settings import OperationSettings, RoutingSettings
from ip2service.wishes import BOOT_LIMIT, EXEMPTION_LIMIT

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "routing.md"
TEXT = PAGE.read_text()
LAYOUT = Layout()
RULES = [guard_table(LAYOUT), *(routing_table(Layout(mode=mode)) for mode in Mode)]
POLICY_RULES = wanted_rules(LAYOUT, Contents(), priority=RoutingSettings().rule_priority)
NAMED_PRIORITIES = {"dstnat": -100, "filter": 0}
NUMBERS = {
    "priority of the first of the three policy rules": f"{RoutingSettings().rule_priority}",
    "time that an exempt pod stays so if nobody renews it": f"{EXEMPT_TIMEOUT} s",
    "time between renewals": f"{RENEWAL_PERIOD:g} s",
    "time without news of the EndpointSlices after which nobody is exempt": f"{EXEMPTION_LIMIT:g} s",
    "time that replies of an earlier cluster IP are still rewritten": f"{RETIRED_TIMEOUT} s",
    "time from a node's boot until anybody is exempt": f"{BOOT_LIMIT:g} s",
    "time between two comparisons with the kernel": f"{OperationSettings().verify_interval:g} s",
    "pause between comparisons that other programs' changes cause": f"{NOTICE_PAUSE:g} s",
    "opening packets without a reply that are a sign of a bypass": f"{UNANSWERED_LIMIT}",
    "and the time that they have to last": f"{UNANSWERED_SECONDS:g} s",
    "places that servers share in endpoints mode": f"{SLOTS}",
}


def section(title: str) -> str:
    """The page from this title to the next one of its rank."""
    [text] = re.findall(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return str(text)


def rows(text: str) -> list[list[str]]:
    """The cells of a table, its heading left out."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def blocks(language: str) -> list[str]:
    """What stands in fences of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_quoted_rules_are_those_that_are_installed() -> None:
    """Whoever compares them with a node finds them letter by letter."""
    installed = {line.strip() for text in RULES for line in text.splitlines()}
    quoted = {line for block in blocks("nft") for line in block.splitlines()}
    assert quoted
    assert quoted - installed == set()


def test_policy_rules_are_those_that_are_added() -> None:
    """All of them: without one family's, the other's would look like enough."""
    quoted = set(re.findall(r"^ip -[46] rule add .*$", TEXT, re.MULTILINE))
    assert quoted == {f"ip -{rule.family.value} rule add {rule}" for rule in POLICY_RULES}


def test_what_is_deleted_by_hand_is_what_refuses() -> None:
    """It has to go first: without the rule before it, the node itself would be refused."""
    deleted = set(re.findall(r"`(ip -[46] rule del [^`]*)`", TEXT))
    assert deleted == {f"ip -{rule.family.value} rule del {rule}" for rule in POLICY_RULES if not rule.local_only}


def test_chains_stand_where_the_page_says() -> None:
    """Whoever has rules beside ours goes by these numbers."""
    head = r"chain (\w+) {\n\t\ttype \w+ hook (\w+) priority ([^;]+);"
    installed = {(name, hook, number(place)) for text in RULES for name, hook, place in re.findall(head, text)}
    documented = {(row[0].strip("`"), row[1], int(row[2])) for row in rows(section("How a packet travels"))}
    assert documented == installed


def number(priority: str) -> int:
    """What a priority such as `dstnat - 5` comes to."""
    name, *offset = priority.split(" ", 1)
    return NAMED_PRIORITIES[name] + int("".join(offset).replace(" ", "") or 0) if name.isalpha() else int(name)


def test_numbers_are_those_of_the_program() -> None:
    """Each with its unit."""
    assert rows(section("Numbers")) == [list(row) for row in NUMBERS.items()]


def test_stand_ins_are_those_that_packets_are_rewritten_to() -> None:
    """They are what `conntrack` is asked for."""
    assert set(STAND_IN.values()) <= set(re.findall(r"[\w.:]+", TEXT.replace(":8169", "")))


def subcommands() -> dict[str, argparse.ArgumentParser]:
    """The commands by their names."""
    [action] = (each for each in command_parser()._actions if isinstance(each, argparse._SubParsersAction))
    return dict(action.choices)


def flags(parser: argparse.ArgumentParser) -> set[str]:
    """All flags of a command."""
    return {flag for action in parser._actions for flag in action.option_strings}


def test_commands_and_their_flags_exist() -> None:
    """What a person copies runs."""
    commands = subcommands()
    named = re.findall(r"ip2service (run|check|rules|boot-rules|uninstall)\b((?: --[\w-]+)*)", TEXT)
    assert {name for name, _ in named} == set(commands)
    assert [(name, flag) for name, given in named for flag in given.split() if flag not in flags(commands[name])] == []


def test_settings_exist() -> None:
    """A flag alone between backticks is one of the router's."""
    named = set(re.findall(r"`(--[\w-]+)[^`]*`", TEXT))
    assert named - flags(subcommands()["run"]) == set()


def test_metrics_exist() -> None:
    """Each is explained on the page of its program."""
    for program, page in ("ip2service", "router-metrics.md"), ("iam4kube", "metrics.md"):
        explained = (ROOT / "docs" / page).read_text()
        named = set(re.findall(rf"\b{program}_\w+_total\b", TEXT))
        assert {name for name in named if f"| `{name}` |" not in explained} == set()


def test_whatever_is_called_tested_has_a_test() -> None:
    """By its name, in a file that has it."""
    tested = TEXT.partition("### Tested")[2].partition("### ")[0]
    for row in rows(tested):
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[1])
        assert named, row
        for file, name in named:
            assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), name


def test_policy_to_paste_names_what_is_intercepted() -> None:
    """On the port that is intercepted; an engine that looks later sees the server."""
    [policy] = map(yaml.safe_load, blocks("yaml"))
    metadata, _server = policy["spec"]["egress"]
    single = {"169.254.169.254/32", "fd00:ec2::254/128"}
    assert {peer["ipBlock"]["cidr"] for peer in metadata["to"]} == single
    assert {address.partition("/")[0] for address in single} == set(LAYOUT.intercepted.values())
    assert [port["port"] for port in metadata["ports"]] == [LAYOUT.intercepted_port]
