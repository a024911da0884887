"""A Kubernetes API and an STS on loopback, and replicas of the real server that run against them."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from iam4kube.metadata.keyfile import create_key_file
from iam4kube.metadata.keyring import new_keyring
from iam4kube.runtime.clock import utc_now
from iam4kube.sandbox.kubernetes import KubernetesApi, objects
from iam4kube.sandbox.sts.server import Sts
from tests.support.commands import Ended, run_to_end
from tests.support.logging_process import LoggingProcess
from tests.support.metadata import ROLES, TOKEN_HEADER, TOKEN_PATH, TTL_HEADER, Client, Reply
from tests.support.waiting import eventually

ACCOUNT = "111122223333"
NODE = "127.0.2.1"
_KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR")


def role_arn(name: str) -> str:
    """The ARN of a role of the account that the tests use."""
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


class World:
    """What a cluster and AWS are to a replica. Use it with `async with`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubernetes = KubernetesApi()
        self.sts = Sts()
        self.key_file = folder / "token-keys.json"
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.kubernetes)
        await self._stack.enter_async_context(self.sts)
        create_key_file(self.key_file, new_keyring(now=utc_now()))
        self.kubernetes.create(objects.node("node-a", addresses=[NODE]))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def add_pod(self, address: str, *, name: str, role: str | None, namespace: str = "shop") -> None:
        """A running pod and a ServiceAccount of the same name, with a role of the tests' account or without."""
        self.annotate(name, role=role, namespace=namespace)
        self.run_pod(address, name=name, namespace=namespace)

    def annotate(self, name: str, *, role: str | None = None, arn: str | None = None, namespace: str = "shop") -> None:
        """A ServiceAccount with a role of the tests' account, with any ARN, or with neither."""
        arn = role_arn(role) if role is not None else arn
        self.kubernetes.create(objects.service_account(name, namespace=namespace, role_arn=arn))

    def run_pod(self, address: str, *, name: str, namespace: str = "shop") -> None:
        """A running pod of the ServiceAccount of the same name."""
        self.kubernetes.create(objects.pod(name, namespace=namespace, service_account=name, addresses=[address]))

    def events(self, pod: str, *, namespace: str = "shop") -> list[tuple[str, str, str]]:
        """Type, reason and message of the events on a pod."""
        return [
            (event["type"], event["reason"], event["message"])
            for event in self.kubernetes.list("events", namespace=namespace)
            if event["involvedObject"]["name"] == pod
        ]

    def environment(self) -> dict[str, str]:
        """The environment of a replica's process in this world."""
        return replica_environment(self.sts)

    def flags(self, *more: str) -> list[str]:
        """Flags of `iam4kube serve` for a replica in this world, on ports that the kernel chooses."""
        return replica_flags(
            *more, kubeconfig=self.kubernetes.kubeconfig(self.folder / "kubeconfig"), key_file=self.key_file
        )

    @asynccontextmanager
    async def replica(self, *flags: str, ready: bool = True) -> AsyncIterator["ReplicaProcess"]:
        """A replica in a process of its own, ready unless `ready` is false; killed at the end if it still runs."""
        async with running_replica(*self.flags(*flags), environment=self.environment(), ready=ready) as replica:
            yield replica


def replica_environment(sts: Sts) -> dict[str, str]:
    """The environment of a replica's process: how it finds STS, and nothing of whoever runs the tests."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return {**kept, **files, "AWS_EC2_METADATA_DISABLED": "true", **sts.environment()}


def replica_flags(*more: str, kubeconfig: Path, key_file: Path) -> list[str]:
    """Flags of `iam4kube serve` for a replica on ports that the kernel chooses."""
    return [
        f"--kubeconfig={kubeconfig}",
        f"--token-key-file={key_file}",
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--debug-listen=127.0.0.1:0",
        "--log-format=json",
        *more,
    ]


@asynccontextmanager
async def running_replica(
    *flags: str, environment: dict[str, str], ready: bool = True
) -> AsyncIterator["ReplicaProcess"]:
    """A replica in a process of its own, ready unless `ready` is false; killed at the end if it still runs."""
    replica = await ReplicaProcess.start(*flags, environment=environment)
    try:
        if ready:
            await replica.become_ready()
        yield replica
    finally:
        await replica.kill()


@dataclass
class Ports:
    """Where a replica listens; 0 where it does not yet."""

    metadata: int = 0
    admin: int = 0
    debug: int = 0


class ReplicaProcess(LoggingProcess):
    """`iam4kube serve` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__("the replica", seconds_to_end=60.0)
        self.follow(process)

    @classmethod
    async def start(cls, *flags: str, environment: dict[str, str]) -> Self:
        """Start the process; return as soon as it listens on all ports. Raises `TimeoutError`."""
        replica = await cls.begin(*flags, environment=environment)
        try:
            await replica.until(lambda: 0 not in (replica.ports.metadata, replica.ports.admin, replica.ports.debug))
        except BaseException:
            await replica.kill()
            raise
        return replica

    @classmethod
    async def begin(cls, *flags: str, environment: dict[str, str]) -> Self:
        """Start the process, and wait for nothing."""
        return cls(await _serve(*flags, environment=environment))

    async def become_ready(self) -> None:
        """Return once the replica says that it is ready. Raises `TimeoutError`."""
        try:
            await self.until(lambda: "Ready" in self.messages)
        except TimeoutError:
            raise TimeoutError((await self.admin("/readyz")).text) from None

    @property
    def ports(self) -> Ports:
        """Where it listens, as its log says."""
        return Ports(**{line["listener"]: line["port"] for line in self.logged("Listening")})

    @property
    def messages(self) -> list[str]:
        """The log's messages, in order."""
        return [line["message"] for line in self.log]

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._running.send_signal(signal.SIGTERM)

    async def admin(self, path: str) -> Reply:
        """Ask the admin port."""
        return await ask(self.ports.admin, "GET", path)

    async def debug(self, path: str) -> Reply:
        """Ask the debug port."""
        return await ask(self.ports.debug, "GET", path)

    async def metric(self, name: str) -> float:
        """The value of a metric, with its labels as they stand on the page; 0 when it is not there."""
        page = (await self.admin("/metrics")).text
        return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.rpartition(" ")[0] == name)

    async def until_metric(self, name: str, value: float) -> None:
        """Wait until a metric has a value. Raises `TimeoutError`."""

        async def has_it() -> bool:
            return await self.metric(name) == value

        await eventually(has_it)

    async def ask(self, method: str, path: str, source: str, **headers: str) -> Reply:
        """Ask the metadata API from a pod's address."""
        return await ask(self.ports.metadata, method, path, source=source, **headers)

    async def credentials(self, source: str, *, token: str | None = None) -> dict[str, str]:
        """What an SDK does: token, role list, credentials; each on a connection of its own."""
        if token is None:
            token = (await self.ask("PUT", TOKEN_PATH, source, **{TTL_HEADER: "21600"})).text
        listed = await self.ask("GET", ROLES, source, **{TOKEN_HEADER: token})
        assert listed.status == 200, listed
        answered = await self.ask("GET", ROLES + listed.text, source, **{TOKEN_HEADER: token})
        assert answered.status == 200, answered
        document: dict[str, str] = msgspec.json.decode(answered.body)
        return document


async def ask(port: int, method: str, path: str, *, source: str = "127.0.0.1", **headers: str) -> Reply:
    """One request on a connection of its own, from `source`; underscores in header names are dashes."""
    async with asyncio.timeout(20):
        client = Client(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))
        try:
            return await client.ask(method, path, **headers)
        finally:
            await client.close()


async def run_command(*arguments: str, environment: dict[str, str]) -> Ended:
    """Run `iam4kube` with these arguments to its end. Raises `TimeoutError`."""
    return await run_to_end(sys.executable, "-m", "iam4kube", *arguments, environment=environment)


async def _serve(*flags: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "iam4kube",
        "serve",
        *flags,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
