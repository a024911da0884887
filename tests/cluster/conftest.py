"""A part of the real cluster for each test, and in it a server with its permissions and nothing else."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.controlplane import ControlPlane
from tests.support.real_cluster import RealCluster

_told = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what tests have told."""
    for text in config.stash.get(_told, []):
        terminalreporter.write_line(f"\n{text}")


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Shows a text, such as what a test has counted, at the end of the run."""
    return request.config.stash.setdefault(_told, []).append


@pytest_asyncio.fixture
async def cluster(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealCluster]:
    """Namespaces of the test's own; the server's ServiceAccount has no permissions yet."""
    async with RealCluster(control_plane, tmp_path) as cluster:
        await cluster.write_kubeconfig()
        yield cluster


@pytest_asyncio.fixture
async def permitted(cluster: RealCluster) -> RealCluster:
    """The same with exactly the permissions of docs/permissions.md."""
    await cluster.grant()
    return cluster
