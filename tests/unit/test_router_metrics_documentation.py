"""docs/router-metrics.md lists what an assembled router has in its registry: every metric, its type and its labels."""

import re
from collections.abc import Mapping

from iam4kube.kube.connection import new_client
from iam4kube.runtime.clock import utc_now
from iam4kube.runtime.metrics import new_registry
from iam4kube.runtime.settings import load
from ip2service.assembly import Router
from ip2service.metrics import PROGRAM
from ip2service.problems import ProblemKind
from ip2service.settings import PREFIX, RouterSettings
from tests.support.metrics_page import DOCS, documented, registered, words_of
from tests.support.router_kernel import KernelInMemory

PAGE = DOCS / "router-metrics.md"
NOTHING: Mapping[str, str] = {}


async def test_page_and_registry_agree() -> None:
    """In both directions: nothing is left out of the page, and nothing on it is gone."""
    registry = new_registry(program=PROGRAM, version="test")
    settings = load(RouterSettings, ["--node-name=node-a"], NOTHING, prog="ip2service run", prefix=PREFIX)
    client = new_client(settings.kubernetes, NOTHING, user_agent="test")
    Router(settings, kernel=KernelInMemory().kernel(), client=client, now=utc_now, registry=registry)
    explained, there = documented(PAGE), set(registered(registry))
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
