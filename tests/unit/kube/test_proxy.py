"""The proxy to the API server: checked at start as aiohttp will use it, and never shown with its password."""

import json
from pathlib import Path

import pytest

from iam4kube.kube.configuration import InCluster, Kubeconfig
from iam4kube.kube.errors import KubeConfigError

SERVER = "https://10.0.0.1:6443"
WRONG = [
    "bob:hunter2@proxy:3128",
    "proxy:3128",
    "socks5://bob:hunter2@proxy:3128",
    "http://bob:hunt#er2@proxy:3128",
    "http://bob:12#hunter2@proxy:3128",
    "http://bob:12/hunter2@proxy:3128",
    "http://bob:12?hunter2@proxy:3128",
    "http://bob:hunter2@proxy:99999",
    "http://bob:hunter2@proxy:port",
    "http://bob:hunter2@[::1",
    "http://bob:hunter2@:3128",
    "http://bob:hunter2@pro xy:3128",
]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of whoever runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def in_cluster(folder: Path) -> InCluster:
    """A pod's configuration."""
    (folder / "token").write_text("token")
    (folder / "ca.crt").write_text("CA")
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
    return InCluster(environ=environ, directory=folder)


def kubeconfig(folder: Path, *, server: str = SERVER, **cluster: str) -> Kubeconfig:
    """A kubeconfig whose cluster has these fields more."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (folder / "config").write_text(json.dumps(config))
    return Kubeconfig(paths=(folder / "config",))


async def complaint(source: InCluster | Kubeconfig) -> str:
    """What is said of it at start: one line, without the password and who it is of."""
    with pytest.raises(KubeConfigError) as raised:
        await source.load()
    text = str(raised.value)
    assert "\n" not in text
    assert not [secret for secret in ("bob", "hunt", "er2", "12") if secret in text.replace("3128", "")]
    return text


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
async def test_proxy_of_the_environment_that_cannot_be_used_is_one_line_at_start(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable as it is spelt, the value without name and password, and the remedy."""
    monkeypatch.setenv(name, value)
    text = await complaint(in_cluster(tmp_path))
    assert text.startswith(f"{name} is '")
    assert "http://proxy:3128" in text
    assert "NO_PROXY" in text


@pytest.mark.parametrize("value", WRONG)
async def test_proxy_of_a_kubeconfig_that_cannot_be_used_is_one_line_at_start(value: str, tmp_path: Path) -> None:
    """The same, by the name of its field."""
    assert (await complaint(kubeconfig(tmp_path, **{"proxy-url": value}))).startswith("proxy-url in the kubeconfig is")


@pytest.mark.parametrize(
    "value",
    [
        "http://proxy",
        "http://proxy:3128/",
        "http://proxy:3128/path",
        "http://bob:hunter2@proxy:3128",
        "http://bob:hun ter2@proxy:3128",
        "http://[fd00::1]:3128",
    ],
)
async def test_proxy_that_can_be_used_is_taken(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without port, name and password."""
    assert (await kubeconfig(tmp_path, **{"proxy-url": value}).load()).proxy == value
    monkeypatch.setenv("HTTPS_PROXY", f"{value} ")  # aiohttp strips it
    assert (await in_cluster(tmp_path).load()).host == SERVER


@pytest.mark.parametrize(
    "environment",
    [
        {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": "10.0.0.1"},
        {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": "*"},
        {"HTTP_PROXY": "proxy:3128"},
        {"ALL_PROXY": "proxy:3128"},
        {"HTTPS_PROXY": "proxy:3128", "https_proxy": "http://proxy:3128"},
    ],
)
async def test_proxy_that_is_not_used_is_not_looked_at(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For what NO_PROXY names, of the other scheme, of the other spelling: other programs may read it their way."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (await in_cluster(tmp_path).load()).host == SERVER


async def test_proxy_that_is_not_used_but_parsed_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a request by https aiohttp parses HTTP_PROXY, too, and fails with it."""
    monkeypatch.setenv("HTTP_PROXY", "http://bob:hunt#er2@proxy:3128")
    assert (await complaint(in_cluster(tmp_path))).startswith("HTTP_PROXY is 'http://proxy:3128'")


async def test_kubeconfigs_proxy_goes_before_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That one is not used then."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
    assert (await kubeconfig(tmp_path, **{"proxy-url": "http://other:3128"}).load()).proxy == "http://other:3128"


@pytest.mark.parametrize(
    "server", ["https://bob:hunter2@10.0.0.1:6443", "bob:hunter2@10.0.0.1:6443", "https://bob:hunter2@10.0.0.1:port"]
)
async def test_server_with_a_password_in_its_url_is_refused_without_it(server: str, tmp_path: Path) -> None:
    """Every error of a request quotes the URL."""
    assert "the server in the Kubernetes configuration" in await complaint(kubeconfig(tmp_path, server=server))
