"""The dashboards open in anybody's Grafana, and a person can read them."""

import re
from itertools import combinations

import pytest

from tests.support.dashboards import FILES, Panel, dashboard, panels

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

each_file = pytest.mark.parametrize("file", [file.name for file in FILES])


@each_file
def test_the_data_source_is_chosen_by_whoever_looks(file: str) -> None:
    """Nothing of the installation that it was drawn in."""
    [variable] = dashboard(file)["templating"]["list"]
    assert (variable["type"], variable["name"], variable["query"]) == ("datasource", "datasource", "prometheus")
    assert dashboard(file)["id"] is None
    for panel in panels(file):
        assert panel["datasource"] == DATA_SOURCE
        assert all(target["datasource"] == DATA_SOURCE for target in panel["targets"])


@each_file
def test_rows_answer_questions_in_order(file: str) -> None:
    """Whoever is woken up reads from the top."""
    rows = [panel["title"] for panel in dashboard(file)["panels"] if panel["type"] == "row"]
    assert rows == ["Does it work?", "How fast?", "What fails?", "The routers", "The processes"]


@each_file
def test_panels_explain_themselves(file: str) -> None:
    """A unit, a sentence, and a name for each line."""
    for panel in panels(file):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]


@each_file
def test_names_of_lines_have_what_they_show(file: str) -> None:
    """A label that the expression has grouped away would be empty."""
    for panel in panels(file):
        for target in panel["targets"]:
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
            kept = {label.strip() for labels in grouped for label in labels.split(",")}
            assert not grouped or shown <= kept, panel["title"]


@each_file
def test_panels_lie_beside_each_other(file: str) -> None:
    """On Grafana's grid of 24 columns, each with a number of its own."""
    everything = dashboard(file)["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in everything)
    assert [each for each in combinations(everything, 2) if _overlap(*each)] == []


def _overlap(one: Panel, other: Panel) -> bool:
    a, b = one["gridPos"], other["gridPos"]
    beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
    return not beside and not (a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"])
