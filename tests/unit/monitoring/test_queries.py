"""What the alerts and the dashboards ask Prometheus for exists: metrics, labels, and the labels' values."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.alert_rules import alerts
from tests.support.assembled_registries import router_registry, server_registry
from tests.support.dashboards import FILES, queries
from tests.support.metrics_page import DOCS, registered, words_of
from tests.support.prometheus import Matcher, Selector, selectors

pytestmark = pytest.mark.tools

PAGES = {"iam4kube": DOCS / "metrics.md", "ip2service": DOCS / "router-metrics.md"}
TARGET = frozenset({"job", "instance", "namespace", "pod", "node"})
"""What Prometheus adds to each series of a target, as the manifests have it scraped."""
OTHERS = {
    "up": TARGET,
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
    # kube-state-metrics, by its pages on pods and nodes
    "kube_pod_status_ready": frozenset({"namespace", "pod", "condition"}),
    "kube_pod_status_phase": frozenset({"namespace", "pod", "phase"}),
    "kube_node_info": frozenset({"node", "os_image"}),
    "kube_node_status_condition": frozenset({"node", "condition", "status"}),
}
"""Metrics that are not of these programs, with those of their labels that we know."""
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}


def questions(page: Path) -> list[str]:
    """The expressions in the first table of a page of metrics."""
    table = page.read_text().partition("## What to look at")[2].partition("\n## ")[0]
    return [code for code in re.findall(r"`([^`]+)`", table) if re.match(r"[a-z_0-9]+\(|i\w+_\w+", code)]


@cache
def asked() -> list[tuple[str, Selector]]:
    """Everything that is asked for anywhere: the place, and what."""
    expressions = [(alert.name, alert.expression) for alert in alerts()]
    expressions += [(file.name, query) for file in FILES for query in queries(file.name)]
    expressions += [(page.name, each) for page in PAGES.values() for each in questions(page)]
    found = selectors([text for _, text in expressions])
    return [(place, each) for (place, _), every in zip(expressions, found, strict=True) for each in every]


@pytest.fixture
async def labels(tmp_path: Path) -> dict[str, frozenset[str]]:
    """By each name of a series that Prometheus may have."""
    found = dict(OTHERS)
    for registry in (await server_registry(tmp_path), router_registry()):
        for name, kind, labels in registered(registry):
            for suffix in SUFFIXES.get(kind, ("",)):
                found[name + suffix] = labels | TARGET | ({"le"} if suffix == "_bucket" else set())
    return found


def explained(metric: str, matcher: Matcher) -> bool:
    """Whether the row of our own metric has a value that is meant, for each that the condition lists."""
    page = PAGES[metric.partition("_")[0]]
    words = words_of(page, re.sub(r"_(bucket|sum|count)$", "", metric))
    alternatives = matcher.value.split("|") if matcher.operator.endswith("~") else [re.escape(matcher.value)]
    return all(any(re.fullmatch(each, word) for word in words) for each in alternatives)


def chosen(selector: Selector) -> list[Matcher]:
    """Its conditions on labels whose values we chose, and which the page lists."""
    listed = selector.metric not in OTHERS and not selector.metric.startswith("process_")
    free = TARGET | {"status", "key_id"}
    return [each for each in selector.matchers if listed and each.label not in free]


async def test_metrics_and_labels_exist(labels: dict[str, frozenset[str]]) -> None:
    """In an expression with a name of yesterday nothing ever fires, and nothing is drawn."""
    assert {place for place, _ in asked()} > {"metrics.md", "router-metrics.md", *(file.name for file in FILES)}
    for place, selector in asked():
        assert selector.metric in labels, place
        assert selector.labels - labels[selector.metric] == set(), (place, selector.metric)


def test_values_of_labels_exist() -> None:
    """A misspelt reason matches nothing."""
    conditions = [(place, each.metric, matcher) for place, each in asked() for matcher in chosen(each)]
    assert conditions
    assert [each for each in conditions if not explained(each[1], each[2])] == []


def test_what_every_process_has_is_asked_for_by_job() -> None:
    """Otherwise it is everybody's."""
    for place, selector in asked():
        jobs = {matcher.value for matcher in selector.matchers if matcher.label == "job"}
        assert jobs <= set(PAGES), place
        assert jobs or selector.metric.partition("_")[0] not in {"up", "process"}, place
