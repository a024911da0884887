"""docs/metrics.md lists what an assembled server has in its registry: every metric, its type and its labels."""

from pathlib import Path

from iam4kube.identity.outcomes import Reason
from iam4kube.metadata.tokens import Flaw
from tests.support.assembled_registries import server_registry
from tests.support.metrics_page import DOCS, documented, registered, words_of

PAGE = DOCS / "metrics.md"


def test_page_explains_every_reason_of_a_refusal() -> None:
    """Whoever sees a reason on a dashboard finds it here."""
    explained = words_of(PAGE, "iam4kube_metadata_refusals_total")
    assert {*map(str, Reason), *map(str, Flaw)} - explained == set()


async def test_page_and_registry_agree(tmp_path: Path) -> None:
    """In both directions: nothing is left out of the page, and nothing on it is gone."""
    explained, there = documented(PAGE), set(registered(await server_registry(tmp_path)))
    assert there - explained == set(), "not on the page"
    assert explained - there == set(), "on the page only"
