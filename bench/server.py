"""The real `iam4kube serve` in a process of its own, asked as operators and pods ask."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from bench.client import TOKEN, Reply, ask, request_bytes
from bench.processes import SERVER_CORE, free_port, last_words, process

GET_TOKEN = request_bytes(TOKEN, {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}, method="PUT")
"""A request that is answered whatever state the replica is in."""

_LOOPBACK = "127.0.0.1"
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Server:
    """A replica that runs."""

    process: asyncio.subprocess.Process
    port: int
    admin_port: int
    log: Path

    async def token(self, source: str = _LOOPBACK) -> str:
        """An IMDSv2 token for this address."""
        reply = await ask(self.port, GET_TOKEN, source=source)
        return reply.body.decode()

    async def watches_synced(self) -> bool:
        """Whether every watch has delivered its first list; False while nobody answers."""
        try:
            reply = await self._admin("/readyz")
        except ConnectionRefusedError:
            return False
        watches = msgspec.json.decode(reply.body)["watches"]
        return bool(watches) and all(watch["synced"] for watch in watches.values())

    async def ready(self) -> None:
        """Return once the replica is ready. Raises `RuntimeError` with its log if it does not become ready."""
        reply: Reply | None = None
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while reply is None or reply.status != 200:
                    await asyncio.sleep(_POLL_SECONDS)
                    if self.process.returncode is not None:
                        raise RuntimeError(f"the server has ended: {last_words(self.log)}")
                    try:
                        reply = await self._admin("/readyz")
                    except ConnectionRefusedError:
                        reply = None
        except TimeoutError:
            said = reply.body if reply is not None else b"nothing"
            raise RuntimeError(f"the server is not ready: {said!r}; its log: {last_words(self.log)}") from None

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        text = (await self._admin("/metrics")).body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def _admin(self, path: str) -> Reply:
        return await ask(self.admin_port, request_bytes(path, close=True), source=_LOOPBACK)


@asynccontextmanager
async def serving(
    *, kubeconfig: str, environ: Mapping[str, str], sts_rate: int = 10, folder: Path
) -> AsyncIterator[Server]:
    """A replica for as long as the block runs. It is not ready yet."""
    port, admin_port, log = free_port(), free_port(), folder / "server.log"
    arguments = [
        "iam4kube",
        "serve",
        f"--kubeconfig={kubeconfig}",
        f"--listen={_LOOPBACK}:{port}",
        f"--admin-listen={_LOOPBACK}:{admin_port}",
        f"--debug-listen={_LOOPBACK}:{free_port()}",
        "--generate-token-key",
        f"--sts-rate={sts_rate}",
        f"--sts-burst={2 * sts_rate}",
        "--drain-time=0s",
        "--log-format=json",
    ]
    async with process(arguments, core=SERVER_CORE, environ=environ, log=log) as child:
        yield Server(child, port, admin_port, log)
