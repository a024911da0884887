"""The configuration of a pod: TLS against the cluster's CA, and a token file that the kubelet replaces."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from iam4kube.kube.client import KubeClient
from iam4kube.kube.configuration import InCluster
from iam4kube.kube.errors import KubeConfigError, KubeUnreachable
from iam4kube.kube.resources import PODS
from iam4kube.kube.watch_options import WatchLimits
from iam4kube.sandbox.kubernetes import KubernetesApi
from iam4kube.sandbox.kubernetes.objects import pod
from tests.support.tls import self_signed, tls_front
from tests.support.watching import watching

pytestmark = pytest.mark.looptime


@pytest.fixture
async def port(api: KubernetesApi, tmp_path: Path) -> AsyncIterator[int]:
    """The port of TLS in front of the API server, whose CA is in the folder of a ServiceAccount."""
    _, context = self_signed(tmp_path / "serviceaccount")
    async with tls_front(context, backend_port=api.port) as port:
        yield port


@pytest.fixture
def folder(api: KubernetesApi, tmp_path: Path, port: int) -> Path:
    """The ServiceAccount's folder, with a token that does not expire."""
    folder = tmp_path / "serviceaccount"
    (folder / "token").write_text(api.token + "\n")
    return folder


@pytest.fixture
def source(port: int, folder: Path) -> InCluster:
    """The configuration of a pod."""
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}
    return InCluster(environ=environ, directory=folder)


async def test_a_pod_watches_with_its_token(api: KubernetesApi, source: InCluster) -> None:
    """TLS is verified against the cluster's CA; a newline after the token does not matter."""
    async with KubeClient(source, user_agent="test") as client, watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        api.create(pod("web", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+web"])


async def test_another_ca_is_not_trusted(source: InCluster, folder: Path) -> None:
    """A server that the CA did not certify is not talked to."""
    other, _ = self_signed(folder.parent / "other")
    (folder / "ca.crt").write_bytes(other.read_bytes())
    async with KubeClient(source, user_agent="test") as client:
        with pytest.raises(KubeUnreachable, match="certificate"):
            await client.get(PODS, namespace="default", name="web")


async def test_a_replaced_token_is_used_before_the_old_one_ends(
    api: KubernetesApi, source: InCluster, folder: Path
) -> None:
    """The kubelet replaces the token in time, and nobody ever sees a 401: the file is read once a minute."""
    token_file = folder / "token"
    token_file.write_text(api.tokens.issue(lifetime=300))
    limits = WatchLimits(watch_seconds=(20, 20))
    async with KubeClient(source, user_agent="test") as client, watching(client, PODS, limits=limits) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        await asyncio.sleep(230)
        token_file.write_text(api.token)
        await asyncio.sleep(370)
        assert watch.count("watch_failures_total", reason="unauthorized") == 0
    assert api.count("list", "pods") == 1


async def test_an_empty_token_file_is_waited_out(
    api: KubernetesApi, source: InCluster, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is empty for a moment leaves the last token in use."""
    token_file = folder / "token"
    async with KubeClient(source, user_agent="test") as client, watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        token_file.write_text("")
        await asyncio.sleep(70)
        token_file.write_text(api.token)
        await asyncio.sleep(70)
        api.create(pod("web", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+web"])
        assert watch.count("watch_failures_total", reason="unauthorized") == 0
    assert caplog.messages.count("Kubernetes configuration not reloaded; the last one stays") == 1


async def test_a_ca_that_is_none_is_a_mistake_at_start(source: InCluster, folder: Path) -> None:
    """It names the file."""
    (folder / "ca.crt").write_text("garbage")
    with pytest.raises(KubeConfigError, match=r"ca\.crt"):
        await KubeClient(source, user_agent="test").__aenter__()


async def test_a_ca_that_becomes_none_leaves_the_last_one_in_use(
    api: KubernetesApi, source: InCluster, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The client goes on, and takes the next one that is good."""
    good = (folder / "ca.crt").read_bytes()
    api.create(pod("web", addresses=[]))
    async with KubeClient(source, user_agent="test") as client:
        (folder / "ca.crt").write_text("garbage")
        await client._reload()
        assert "not reloaded" in caplog.text
        (folder / "ca.crt").write_bytes(good)
        await client._reload()
        assert await client.get(PODS, namespace="default", name="web") is not None
