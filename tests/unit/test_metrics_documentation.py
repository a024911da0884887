"""docs/metrics.md lists what an assembled server has in its registry: every metric, its type and its labels."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from iam4kube.identity.outcomes import Reason
from iam4kube.metadata.tokens import Flaw
from iam4kube.runtime.metrics import new_registry
from iam4kube.runtime.settings import load
from iam4kube.server import main
from iam4kube.server.settings import PREFIX, ServerSettings
from tests.support.metrics_page import DOCS, documented, registered, words_of

PAGE = DOCS / "metrics.md"
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
current-context: none
"""


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
    explained = words_of(PAGE, "iam4kube_metadata_refusals_total")
    assert {*map(str, Reason), *map(str, Flaw)} - explained == set()


async def test_page_and_registry_agree(registry: CollectorRegistry) -> None:
    """In both directions: nothing is left out of the page, and nothing on it is gone."""
    explained, there = documented(PAGE), set(registered(registry))
    assert there - explained == set(), "not on the page"
    assert explained - there == set(), "on the page only"
