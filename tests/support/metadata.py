"""A metadata API on a real loopback socket, over the real lookup and tables, and a client that speaks raw HTTP.

Every address of 127.0.0.0/8 can be bound without rights, so a client's source address makes it a pod.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from iam4kube.credentials.values import Credentials, Fetched, Refused
from iam4kube.kube.objects import Address
from iam4kube.metadata.application import Application
from iam4kube.metadata.authentication import Authenticator, TokenPolicy
from iam4kube.metadata.guard import ConnectionGuard
from iam4kube.metadata.keyring import Keyring, new_keyring
from iam4kube.metadata.limits import ConnectionLimits, WaitingLimits
from iam4kube.metadata.lookup import Answer, Lookup
from iam4kube.metadata.metrics import ConnectionMetrics, MetadataMetrics
from iam4kube.metadata.protocol import guarded_protocol
from iam4kube.metadata.tokens import Tokens
from iam4kube.metadata.waiting import WaitingRoom
from iam4kube.roles import RoleKey
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.parsing import ListenAddress
from iam4kube.runtime.waits import Waits
from tests.support.cluster import Cluster, account, node, pod

POD = "127.0.1.1"
OTHER_POD = "127.0.1.2"
POD_WITHOUT_ROLE = "127.0.1.3"
UNLABELLED_POD = "127.0.1.4"
STRANGER = "127.0.9.9"
NODE = "127.0.2.1"

ROLES = "/latest/meta-data/iam/security-credentials/"
TOKEN_PATH = "/latest/api/token"
TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


@dataclass
class Clock:
    """Wall time that a test moves."""

    moment: datetime = START

    def __call__(self) -> datetime:
        return self.moment

    def pass_seconds(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Reply:
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes
    version: str

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class CredentialsInHand:
    """Sessions by role key; remembers who waits for one, and how often STS would have been asked."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._known: dict[RoleKey, Fetched | Refused] = {}
        self.demanded: list[RoleKey] = []
        self.lookups = 0

    def lookup(self, key: RoleKey) -> Fetched | Refused | None:
        self.lookups += 1
        return self._known.get(key)

    @contextmanager
    def demand(self, key: RoleKey, *, namespace: str) -> Iterator[None]:
        self.demanded.append(key)
        try:
            yield
        finally:
            self.demanded.remove(key)

    def put(self, key: RoleKey, *, life: float = 3000.0, known: Fetched | Refused | None = None) -> None:
        """A session (or `known`) is there from now on, and whoever waits for it hears of it."""
        self._known[key] = known or fetched(life=life)
        self._waits.wake(key)


def fetched(*, life: float = 3000.0, access_key_id: str = "ASIAEXAMPLE") -> Fetched:
    """A session with `life` seconds left."""
    credentials = Credentials(
        access_key_id=access_key_id,
        secret_access_key="secret/with+slash",
        session_token="session==",
        issued=START + timedelta(microseconds=250_000),
        expiration=START + timedelta(seconds=life, microseconds=250_000),
    )
    return Fetched(credentials, asyncio.get_running_loop().time() + life)


@dataclass(kw_only=True)
class MetadataServer:
    """Settings of a server, its parts once it runs, and a client."""

    policy: TokenPolicy = TokenPolicy.OPTIONAL
    connection_limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    waiting_limits: WaitingLimits = field(default_factory=WaitingLimits)
    request_deadline: float = 15.0
    keep_alive: float = 60.0
    keyring: Keyring = field(default_factory=lambda: new_keyring(now=START))
    clock: Clock = field(default_factory=Clock)
    listen: str = "127.0.0.1"
    role_name: str = "orders"

    async def start(self) -> None:
        self.registry = CollectorRegistry()
        self.cluster = Cluster()
        self.credentials = CredentialsInHand(self.cluster.waits)
        self.observed: list[tuple[Address, Answer]] = []
        self.metrics = MetadataMetrics(self.registry)
        self.waiting = WaitingRoom(self.waiting_limits)
        self.lookup = Lookup(
            identities=self.cluster.chain,
            confirmations=self.cluster.directory.confirmations,
            credentials=self.credentials,
            waits=self.cluster.waits,
            observer=lambda address, answer: self.observed.append((address, answer)),
        )
        self.tokens = Tokens(self.keyring, now=self.clock)
        self.application = Application(
            lookups=self.lookup,
            authenticator=Authenticator(self.tokens, policy=self.policy, refused=self.metrics.refused),
            waiting=self.waiting,
            metrics=self.metrics,
            request_deadline=self.request_deadline,
        )
        self.guard = ConnectionGuard(
            respond=self.application.respond,
            limits=self.connection_limits,
            metrics=ConnectionMetrics(self.registry),
        )
        self.listener = Listener(
            self.application,
            ListenAddress(self.listen, 0),
            name="metadata",
            setting="--metadata-listen",
            protocol=guarded_protocol(self.guard),
            keep_alive=self.keep_alive,
        )
        await self.listener.start()

    def populate(self) -> None:
        """Two pods with roles of the same account, one without, one on a node without labels; all roles fetched."""
        arn = f"arn:aws:iam::111122223333:role/team/{self.role_name}"
        self.cluster.deliver(
            node("node-1", NODE),
            node("node-2", "127.0.2.2", zone=None, region=None),
            account("orders", arn),
            account("billing", "arn:aws:iam::111122223333:role/billing"),
            account("nobody", None),
            pod("orders-1", POD, service_account="orders"),
            pod("billing-1", OTHER_POD, service_account="billing"),
            pod("nobody-1", POD_WITHOUT_ROLE, service_account="nobody"),
            pod("unlabelled-1", UNLABELLED_POD, service_account="nobody", node="node-2"),
        )
        self.cluster.api.put(account("nobody", None))
        self.cluster.sync()
        for key in self.cluster.sink.held:
            self.credentials.put(key)

    def label_node(self, name: str, *, region: str, zone: str) -> None:
        """The node gets its labels."""
        self.cluster.deliver(node(name, "127.0.2.2", region=region, zone=zone))

    @property
    def orders_key(self) -> RoleKey:
        return next(key for key in self.cluster.sink.held if key.session_name == "shop@orders")

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value; 0 when it has none yet."""
        return self.registry.get_sample_value(name, labels) or 0.0

    async def connect(self, source: str = POD, *, receive_buffer: int | None = None) -> "Client":
        """A connection from `source`."""
        raw = socket.socket(socket.AF_INET)
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setblocking(False)
        raw.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.listener.port))
        return Client(*await asyncio.open_connection(sock=raw))

    async def ask(self, method: str, path: str, source: str = POD, **headers: str) -> Reply:
        """One request on a connection of its own; underscores in header names are dashes."""
        async with asyncio.timeout(20):
            client = await self.connect(source)
            try:
                return await client.ask(method, path, **headers)
            finally:
                await client.close()

    async def get(self, path: str, source: str = POD, **headers: str) -> Reply:
        return await self.ask("GET", path, source, **headers)

    async def token(self, source: str = POD, ttl: int = 21600) -> str:
        reply = await self.ask("PUT", TOKEN_PATH, source, **{TTL_HEADER: str(ttl)})
        assert reply.status == 200
        return reply.text


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(self, method: str, path: str, **headers: str) -> Reply:
        lines = [f"{method} {path} HTTP/1.1", "Host: 169.254.169.254"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())
        return await self.reply(body=method != "HEAD")

    async def reply(self, *, body: bool = True) -> Reply:
        """Read one answer. Raises `ConnectionError` when the connection ends first."""
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except asyncio.IncompleteReadError as error:
            raise ConnectionError(f"closed after {error.partial!r}") from error
        version, status, *_ = head[0].split(" ")
        fields = (line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in fields}
        content = await self.reader.readexactly(int(headers["content-length"])) if body else b""
        return Reply(int(status), headers, content, version)

    async def rest(self) -> bytes:
        """What comes until the connection ends; a reset is an end."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def metadata_server(
    server: MetadataServer | None = None, *, empty: bool = False
) -> AsyncIterator[MetadataServer]:
    """A running server, populated unless `empty`, that has to end with nothing waiting and nothing connected."""
    server = server or MetadataServer()
    await server.start()
    if not empty:
        server.populate()
    confirming = asyncio.create_task(server.cluster.directory.confirmations.run())
    try:
        yield server
    finally:
        confirming.cancel()
        server.cluster.waits.close()
        await server.listener.stop(2.0)
    assert (len(server.waiting), len(server.guard.quota), len(server.cluster.waits)) == (0, 0, 0)
    assert server.credentials.demanded == []


def ended(server: MetadataServer, reason: str) -> float:
    """How many connections were ended for this reason."""
    return server.sample("iam4kube_metadata_connections_ended_total", reason=reason)


async def still_serves(server: MetadataServer, source: str = OTHER_POD) -> bool:
    """Whether another pod gets its answer."""
    return (await server.get(ROLES, source)).text == "billing"
