"""The real kube-proxy in a laboratory's node.

    async with LabCluster(control_plane) as cluster, lab.relay(control_plane.port):
        name = await cluster.add_node(lab.node)
        ipv4, ipv6 = await cluster.create_service("web", port=8169)
        await cluster.set_endpoints("web", [Endpoint(address=lab.server("one").ipv4)])
        async with RealProxy(lab, cluster, node=name, mode=ProxyMode.NFTABLES, folder=tmp_path):
            await lab.pod("a").connect(ipv4, 8169)

Without a Node object that has an address it writes no rule.
"""

import asyncio
import socket
import subprocess
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.node_lab import LabHost, NodeLab
from tests.support.node_lab_cluster import LabCluster

_METRICS = ("127.0.0.1", 10249)
# /healthz says 200 before there is a single rule.
_WRITTEN = [f'sync_proxy_rules_last_timestamp_seconds{{ip_family="{family}"}}' for family in ("IPv4", "IPv6")]
_START_SECONDS = 30.0  # under one on an idle machine
_STOP_SECONDS = 10.0
_POLL = 0.05


class ProxyMode(StrEnum):
    """How kube-proxy writes its rules."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"


class RealProxy:
    """kube-proxy as a process in the lab's node. Use it with `async with`; its rules stay when it stops.

    Needs `lab.relay(control_plane.port)`; or with `host`, another node, a relay there.
    """

    def __init__(
        self,
        lab: NodeLab,
        cluster: LabCluster,
        *,
        node: str,
        mode: ProxyMode,
        folder: Path,
        host: LabHost | None = None,
    ) -> None:
        self._host = host or lab.node
        self._control_plane = cluster.control_plane
        self._node = node
        self._mode = mode
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.kill()

    @property
    def log(self) -> str:
        """What it has written so far."""
        return (self._folder / "kube-proxy.log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The process' id."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait for its rules. Raises `RuntimeError` with its log's end, `TimeoutError`."""
        with (self._folder / "kube-proxy.log").open("ab") as log:
            self._process = self._host.namespace.popen(self._command(), stdout=log, stderr=log)
        async with asyncio.timeout(_START_SECONDS):
            while not await self._has_written():
                if self._process.poll() is not None:
                    raise RuntimeError(f"kube-proxy ended; the end of its log:\n{self.log[-4000:]}")
                await asyncio.sleep(_POLL)

    async def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        if self._process is not None:
            process, self._process = self._process, None
            process.terminate()
            await asyncio.to_thread(process.wait, _STOP_SECONDS)

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            await asyncio.to_thread(process.wait)

    def _command(self) -> list[str | Path]:
        return [
            self._control_plane.program("kube-proxy"),
            f"--kubeconfig={self._control_plane.kubeconfig(self._folder / 'kube-proxy.kubeconfig')}",
            f"--hostname-override={self._node}",
            f"--proxy-mode={self._mode}",
            f"--metrics-bind-address={_METRICS[0]}:{_METRICS[1]}",
            "--healthz-bind-address=",
            # The machine's limits of connection tracking cannot be set from a namespace.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ]

    async def _has_written(self) -> bool:
        """Whether it has written rules of both families since it was started."""
        try:
            metrics = await self._metrics()
        except OSError:  # it does not listen yet
            return False
        return all(metric in metrics for metric in _WRITTEN)

    async def _metrics(self) -> str:
        loop, chunks = asyncio.get_running_loop(), []
        with self._host.namespace.socket(socket.AF_INET) as connection:
            await loop.sock_connect(connection, _METRICS)
            await loop.sock_sendall(connection, b"GET /metrics HTTP/1.0\r\n\r\n")
            while chunk := await loop.sock_recv(connection, 65536):
                chunks.append(chunk)
        return b"".join(chunks).decode()
