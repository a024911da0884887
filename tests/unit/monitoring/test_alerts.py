"""The alert rules: what Prometheus says of them, when they fire, and that a person is told what to do."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.alert_rules import MONITORING, OPERATOR_FILE, RULE_FILES, Alert, alerts, operator_text
from tests.support.manifests import MANIFESTS
from tests.support.prometheus import assert_promtool_agrees, promtool
from tests.unit.test_documentation_links import ROOT, anchors

SITUATIONS = tuple(sorted(Path(__file__).parent.glob("*.test.yaml")))
BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "always": lambda rule: rule.update({"expr": f"vector(1) or {rule['expr']}", "for": "0s"}),
    "never": lambda rule: rule.update({"expr": "vector(0) > 1"}),
    "impatient": lambda rule: rule.update({"for": "0s"}),
}
"""What is done to a rule."""

each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)


def expectations() -> dict[str, list[tuple[str, bool]]]:
    """By alert: the situations in which it is looked at, and whether it fires."""
    found = defaultdict(list)
    for file in SITUATIONS:
        for situation in yaml.safe_load(file.read_text())["tests"]:
            for look in situation["alert_rule_test"]:
                found[look["alertname"]].append((situation["name"], bool(look.get("exp_alerts"))))
    return found


def noticed(folder: Path, program: str, change: Callable[[dict[str, Any]], object]) -> set[str]:
    """The alerts whose situations fail when every rule of a program is changed. Writes into `folder`."""
    source = RULE_FILES[program]
    rules = yaml.safe_load(source.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            change(rule)
    (folder / source.name).write_text(yaml.safe_dump(rules))
    original = Path(__file__).parent / source.name.replace(".rules.", ".test.")
    (folder / original.name).write_text(re.sub(r"\.\./\S*/", "", original.read_text()))
    return set(re.findall(r"alertname: (\w+), time", promtool("test", "rules", folder / original.name).stderr))


@pytest.mark.tools
def test_prometheus_accepts_the_rules() -> None:
    """With all that its linter knows."""
    assert_promtool_agrees("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES.values())


@pytest.mark.tools
@pytest.mark.parametrize("file", SITUATIONS, ids=lambda file: file.name)
def test_alerts_fire_when_they_should(file: Path) -> None:
    """By Prometheus' own engine: whom, when, and in which words."""
    assert_promtool_agrees("test", "rules", file)


@each_alert
def test_an_alert_fires_in_one_situation_and_not_in_another(alert: Alert) -> None:
    """Or nobody knows whether it ever would, or ever stops."""
    assert {fires for _, fires in expectations()[alert.name]} == {True, False}


def test_situations_ask_for_alerts_that_exist() -> None:
    """One of yesterday would never fire, as expected."""
    assert expectations().keys() == {alert.name for alert in alerts()}


@pytest.mark.tools
@pytest.mark.parametrize("program", RULE_FILES)
@pytest.mark.parametrize("broken", BROKEN)
def test_situations_notice_a_broken_alert(program: str, broken: str, tmp_path: Path) -> None:
    """One that fires always, never, or before its time."""
    there = {alert.name for alert in alerts() if alert.program == program and (alert.waits or broken != "impatient")}
    assert noticed(tmp_path, program, BROKEN[broken]) == there


@each_alert
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: Alert) -> None:
    """A page has a section for it, with what it means, what to look at and what to do."""
    assert alert.severity in {"critical", "warning"}
    assert alert.name.lower().startswith(alert.program)
    page, _, anchor = alert.runbook.partition("#")
    assert anchor == alert.name.lower()
    assert anchor in anchors(ROOT / page)
    section = (ROOT / page).read_text().partition(f"### {alert.name}\n")[2].partition("\n#")[0]
    for part in ("**Means**", "**Look**", "**Do**"):
        assert part in section


def test_every_section_is_of_an_alert_that_exists() -> None:
    """And has its severity beside it, in the table."""
    text = (ROOT / "docs" / "alerts.md").read_text()
    named = re.findall(r"^### (Iam4kube\w+|Ip2service\w+)$", text, re.MULTILINE)
    assert named == [alert.name for alert in alerts()]
    listed = re.findall(r"^\| \[(\w+)\]\(#\w+\) \| (\w+) \|", text, re.MULTILINE)
    assert listed == [(alert.name, alert.severity) for alert in alerts()]


@pytest.mark.tools
def test_prometheus_accepts_the_scrape_configuration(tmp_path: Path) -> None:
    """Beside a configuration of somebody's own, with the rules."""
    files = {"scrape_config_files": [str(MONITORING / "scrape.yaml")], "rule_files": [str(MONITORING / "*.rules.yaml")]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(files))
    assert_promtool_agrees("check", "config", tmp_path / "prometheus.yml")


def test_both_ways_of_scraping_give_the_labels_that_the_rules_expect() -> None:
    """The job is the program's name; a router has its node."""
    [*configs] = yaml.safe_load((MONITORING / "scrape.yaml").read_text())["scrape_configs"]
    assert [each["job_name"] for each in configs] == list(RULE_FILES)
    assert all({"pod", "node"} <= {rule.get("target_label") for rule in each["relabel_configs"]} for each in configs)
    file = MANIFESTS / "components" / "prometheus-operator" / "pod-monitors.yaml"
    [server, router] = yaml.safe_load_all(file.read_text())
    for monitor, program in (server, "iam4kube"), (router, "ip2service"):
        assert monitor["spec"]["selector"]["matchLabels"][monitor["spec"]["jobLabel"]] == program
    assert router["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["targetLabel"] == "node"


def test_the_operator_gets_the_same_rules() -> None:
    """`python -m tests.support.alert_rules` writes them."""
    assert OPERATOR_FILE.read_text() == operator_text()
    for made in yaml.safe_load_all(OPERATOR_FILE.read_text()):
        assert made["spec"] == yaml.safe_load(RULE_FILES[made["metadata"]["name"]].read_text())
