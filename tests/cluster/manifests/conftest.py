"""An API server in which the manifests are installed."""

from collections.abc import Iterator

import pytest

from tests.support.installed_cluster import InstalledCluster, running_cluster
from tests.support.manifests import BASE


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledCluster]:
    """The base is installed. Overlays and policies that a test installs stay."""
    with running_cluster(tmp_path_factory.mktemp("installed")) as cluster:
        cluster.install(BASE)
        yield cluster
