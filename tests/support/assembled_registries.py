"""What each program has in its registry once it is put together: all metrics, none of them counted yet."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

from prometheus_client import CollectorRegistry

from iam4kube.kube.connection import new_client
from iam4kube.runtime.clock import utc_now
from iam4kube.runtime.metrics import new_registry
from iam4kube.runtime.settings import load
from iam4kube.server import main
from iam4kube.server.settings import PREFIX as SERVER_PREFIX
from iam4kube.server.settings import ServerSettings
from ip2service.assembly import Router
from ip2service.metrics import PROGRAM
from ip2service.settings import PREFIX as ROUTER_PREFIX
from ip2service.settings import RouterSettings
from tests.support.router_kernel import KernelInMemory

_NOTHING: Mapping[str, str] = {}
_KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
current-context: none
"""


async def server_registry(folder: Path) -> CollectorRegistry:
    """That of a server with all its parts, after a request to its admin port. Writes into `folder`."""
    registry = new_registry(program="iam4kube", version="test")
    (folder / "kubeconfig").write_text(_KUBECONFIG)
    listeners = [f"--{name}listen=127.0.0.1:0" for name in ("", "admin-", "debug-")]
    arguments = [f"--kubeconfig={folder}/kubeconfig", "--generate-token-key", "--sts-region=eu-central-1", *listeners]
    settings = load(ServerSettings, arguments, _NOTHING, prog="iam4kube serve", prefix=SERVER_PREFIX)
    with patch.object(main, "new_registry", lambda **_: registry):
        async with main.open_replica(settings, _NOTHING) as replica:
            await replica.admin.start()
            await _ask(replica.admin.port, "/livez")
            await replica.admin.stop(1.0)
    return registry


def router_registry() -> CollectorRegistry:
    """That of a router with all its parts. Needs an event loop that runs."""
    registry = new_registry(program=PROGRAM, version="test")
    settings = load(RouterSettings, ["--node-name=node-a"], _NOTHING, prog="ip2service run", prefix=ROUTER_PREFIX)
    client = new_client(settings.kubernetes, _NOTHING, user_agent="test")
    Router(settings, kernel=KernelInMemory().kernel(), client=client, now=utc_now, registry=registry)
    return registry


async def _ask(port: int, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    await reader.read()
    writer.close()
