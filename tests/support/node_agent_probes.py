"""Probes as the kubelet runs them: from the node, again and again, with thresholds."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from iam4kube.sandbox.network import Namespace
from tests.support.node_agent_api import Object
from tests.support.node_lab_probes import family_of


@dataclass(frozen=True, kw_only=True)
class Probe:
    """An httpGet probe; times in seconds."""

    port: int
    path: str
    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int

    @classmethod
    def of(cls, container: Object, kind: str) -> Self | None:
        """A container's probe of a kind such as `readinessProbe`, where it has one."""
        spec = container.get(kind)
        if spec is None:
            return None
        ports = {port.get("name"): port["containerPort"] for port in container.get("ports", ())}
        asked = spec["httpGet"]
        return cls(
            port=ports.get(asked["port"], asked["port"]),
            path=asked.get("path", "/"),
            initial_delay=spec.get("initialDelaySeconds", 0),
            period=spec["periodSeconds"],
            timeout=spec["timeoutSeconds"],
            success_threshold=spec["successThreshold"],
            failure_threshold=spec["failureThreshold"],
        )

    async def verdict(self, ask: Callable[["Probe"], Awaitable[bool]]) -> bool:
        """Ask until the same answer has come as often in a row as its threshold says."""
        last, times = False, 0
        while True:
            healthy = await ask(self)
            times = times + 1 if healthy is last else 1
            last = healthy
            if times >= (self.success_threshold if healthy else self.failure_threshold):
                return healthy
            await asyncio.sleep(self.period)

    async def ask(self, namespace: Namespace, address: str) -> bool:
        """Ask once, from a namespace."""
        try:
            async with asyncio.timeout(self.timeout):
                return 200 <= await _status(namespace, address, self.port, self.path) < 400
        except (OSError, ValueError, IndexError):  # refused, too late, no HTTP
            return False


async def _status(namespace: Namespace, address: str, port: int, path: str) -> int:
    loop = asyncio.get_running_loop()
    with namespace.socket(family_of(address)) as connection:
        await loop.sock_connect(connection, (address, port))
        host = f"[{address}]" if ":" in address else address
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: kube-probe/1.34\r\nConnection: close\r\n\r\n"
        )
        await loop.sock_sendall(connection, request.encode())
        return int((await loop.sock_recv(connection, 4096)).split(b" ")[1])
