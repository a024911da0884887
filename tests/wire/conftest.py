"""A Kubernetes API on a loopback socket, and a client of it by a kubeconfig."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from iam4kube.kube.client import KubeClient
from iam4kube.kube.configuration import Kubeconfig
from iam4kube.sandbox.kubernetes import KubernetesApi


@pytest.fixture
async def api() -> AsyncIterator[KubernetesApi]:
    """An API server that runs, with nothing in it."""
    async with KubernetesApi() as api:
        yield api


@pytest.fixture
def kubeconfig(api: KubernetesApi, tmp_path: Path) -> Path:
    """A kubeconfig with a token that does not expire."""
    return api.kubeconfig(tmp_path / "kubeconfig")


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[KubeClient]:
    """A client of `api`."""
    async with KubeClient(Kubeconfig(paths=(kubeconfig,)), user_agent="test") as client:
        yield client
