"""docs/metrics.md lists what an assembled server has in its registry: every metric, its type and its labels."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from iam4kube.identity.outcomes import Reason
from iam4kube.metadata.tokens import Flaw
from iam4kube.runtime.metrics import new_registry
from iam4kube.runtime.settings import load
from iam4kube.server import main
from iam4kube.server.settings import PREFIX, ServerSettings

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
SUFFIXES = {"counter": "_total", "info": "_info"}
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
current-context: none
"""

Metric = tuple[str, str, frozenset[str]]


def _documented() -> set[Metric]:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| [^|]+ \|$", PAGE.read_text(), re.MULTILINE)
    return {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def _registered(registry: CollectorRegistry) -> Iterator[Metric]:
    for collector in registry._collector_to_names:
        # A labelled metric has no samples before its first count, and only the object itself tells its labels then.
        declared = collector._labelnames if isinstance(collector, MetricWrapperBase) else ()
        for family in collector.collect():
            labels = {*declared, *getattr(family, "_labelnames", ())}
            labels |= {label for sample in family.samples for label in sample.labels}
            yield family.name + SUFFIXES.get(family.type, ""), family.type, frozenset(labels - {"le", "quantile"})


async def _ask(port: int, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    await reader.read()
    writer.close()


@pytest.fixture
async def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """The registry of a server with all its parts, after a request to its admin port."""
    registry = new_registry(program="iam4kube", version="test")
    monkeypatch.setattr(main, "new_registry", lambda **_: registry)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    listeners = [f"--{name}listen=127.0.0.1:0" for name in ("", "admin-", "debug-")]
    arguments = [f"--kubeconfig={tmp_path}/kubeconfig", "--generate-token-key", "--sts-region=eu-central-1", *listeners]
    settings = load(ServerSettings, arguments, {}, prog="iam4kube serve", prefix=PREFIX)
    async with main.open_replica(settings, {}) as replica:
        await replica.admin.start()
        await _ask(replica.admin.port, "/livez")
        await replica.admin.stop(1.0)
    return registry


def test_page_explains_every_reason_of_a_refusal() -> None:
    """Whoever sees a reason on a dashboard finds it here."""
    (row,) = (line for line in PAGE.read_text().splitlines() if line.startswith("| `iam4kube_metadata_refusals_total`"))
    explained = set(re.findall(r"`(\w+)`", row))
    assert {*map(str, Reason), *map(str, Flaw)} - explained == set()


async def test_page_and_registry_agree(registry: CollectorRegistry) -> None:
    """In both directions: nothing is left out of the page, and nothing on it is gone."""
    documented, registered = _documented(), set(_registered(registry))
    assert registered - documented == set(), "not on the page"
    assert documented - registered == set(), "on the page only"
