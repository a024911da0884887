"""A proxy that wants another password: what is told of it has none."""

import asyncio
import json
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from iam4kube.kube.client import KubeClient
from iam4kube.kube.configuration import Kubeconfig
from iam4kube.kube.errors import KubeUnreachable
from iam4kube.kube.resources import PODS
from tests.support.waiting import wait_until
from tests.support.watching import watching

pytestmark = pytest.mark.looptime


@pytest.fixture
async def proxy() -> AsyncIterator[str]:
    """A proxy that lets nobody through. Its address."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture(params=["proxy-url", "HTTPS_PROXY"])
def source(request: pytest.FixtureRequest, proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubeconfig:
    """The way there is by the proxy, with a password, that the kubeconfig or the environment names."""
    for name in ("https_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    url = f"http://bob:hunter2@{proxy}"
    if request.param == "HTTPS_PROXY":
        monkeypatch.setenv("HTTPS_PROXY", url)
    cluster = {"server": "https://10.0.0.1:6443"} | ({"proxy-url": url} if request.param == "proxy-url" else {})
    config = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    return Kubeconfig(paths=(tmp_path / "config",))


async def test_refusal_of_the_proxy_names_neither_user_nor_password(source: Kubeconfig) -> None:
    """Not in the error, nor in its traceback; its status is there."""
    async with KubeClient(source, user_agent="test") as client:
        with pytest.raises(KubeUnreachable, match=r"https://10.0.0.1:6443: .*407") as raised:
            await client.get(PODS, namespace="default", name="web")
    shown = "".join(traceback.format_exception(raised.value))
    assert "hunter2" not in shown
    assert "bob" not in shown


async def test_watch_tells_of_its_trouble_without_the_password(
    source: Kubeconfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the log nor what readiness shows has it."""
    async with KubeClient(source, user_agent="test") as client, watching(client, PODS) as watch:
        await wait_until(lambda: bool(watch.reflector.problem))
        shown = watch.reflector.problem + "".join(str(vars(record)) for record in caplog.records)
    assert "407" in shown
    assert "hunter2" not in shown
