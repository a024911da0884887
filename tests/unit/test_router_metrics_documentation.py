"""docs/router-metrics.md lists what an assembled router has in its registry: every metric, its type and its labels."""

import re

from ip2service.problems import ProblemKind
from tests.support.assembled_registries import router_registry
from tests.support.metrics_page import DOCS, documented, registered, words_of

PAGE = DOCS / "router-metrics.md"


async def test_page_and_registry_agree() -> None:
    """In both directions: nothing is left out of the page, and nothing on it is gone."""
    explained, there = documented(PAGE), set(registered(router_registry()))
    assert there - explained == set(), "not on the page"
    assert explained - there == set(), "on the page only"


def test_page_explains_every_problem_of_the_service() -> None:
    """Whoever sees a reason on a dashboard finds it here."""
    assert set(map(str, ProblemKind)) - words_of(PAGE, "ip2service_service_problem") == set()


def test_page_asks_only_for_metrics_that_it_explains() -> None:
    """An expression with a name of yesterday shows nothing for ever."""
    questions = PAGE.read_text().partition("## Rules")[0]
    named = {re.sub(r"_bucket$", "", name) for name in re.findall(r"\bip2service_\w+", questions)}
    assert named - {name for name, _, _ in documented(PAGE)} == set()
