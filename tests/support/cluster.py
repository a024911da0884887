"""Pods, ServiceAccounts and nodes as the watches deliver them, and the fakes that identity is tested with."""

import asyncio
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from iam4kube.identity.directory import Directory, Feed
from iam4kube.kube.objects import Address, Node, Pod, ResourceVersion, ServiceAccount, Uid
from iam4kube.roles import RoleKey
from iam4kube.runtime.waits import Waits

EPOCH = datetime(2026, 11, 1, tzinfo=UTC)
ROLE = "arn:aws:iam::111122223333:role/orders"
OTHER_ROLE = "arn:aws:iam::111122223333:role/billing"


def loop_now() -> datetime:
    """Wall time that runs with the loop's virtual clock."""
    return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


def wall(seconds: float) -> float:
    """The wall time, in seconds since the epoch, at this reading of the loop's clock."""
    return EPOCH.timestamp() + seconds


def pod(
    name: str = "orders-1",
    *addresses: str,
    namespace: str = "shop",
    uid: str | None = None,
    service_account: str = "orders",
    node: str = "node-1",
    host_network: bool = False,
    finished: bool = False,
    deletion: float | None = None,
    status_mark: int = 0,
) -> Pod:
    """A running pod. `deletion` is in seconds since the epoch."""
    return Pod(
        namespace=namespace,
        name=name,
        uid=Uid(uid or f"uid-of-{name}"),
        resource_version=ResourceVersion("1"),
        service_account=service_account,
        node=node,
        addresses=tuple(Address(address) for address in addresses),
        host_network=host_network,
        finished=finished,
        running=not finished,
        deletion=deletion,
        status_mark=status_mark,
    )


def account(
    name: str = "orders",
    role_arn: str | None = ROLE,
    *,
    namespace: str = "shop",
    external_id: str | None = None,
) -> ServiceAccount:
    """A ServiceAccount, annotated unless `role_arn` is None."""
    return ServiceAccount(
        namespace=namespace,
        name=name,
        uid=Uid(f"uid-of-{name}"),
        resource_version=ResourceVersion("1"),
        role_arn=role_arn,
        external_id=external_id,
    )


def node(
    name: str = "node-1",
    *addresses: str,
    boot_id: str = "boot-1",
    ready: bool = True,
    region: str | None = "eu-west-1",
    zone: str | None = "eu-west-1a",
) -> Node:
    """A node in eu-west-1."""
    return Node(
        name=name,
        uid=Uid(f"uid-of-{name}"),
        resource_version=ResourceVersion("1"),
        addresses=tuple(Address(address) for address in addresses),
        boot_id=boot_id,
        ready=ready,
        region=region,
        zone=zone,
    )


class RecordingSink:
    """Remembers which roles are held and used."""

    def __init__(self) -> None:
        self.held: dict[RoleKey, int] = {}
        self.used: dict[RoleKey, int] = {}

    def hold(self, key: RoleKey, *, namespace: str) -> None:
        self.held[key] = self.held.get(key, 0) + 1

    def release(self, key: RoleKey) -> None:
        self.held[key] -= 1
        if not self.held[key]:
            del self.held[key]
            self.used.pop(key, None)

    def use(self, key: RoleKey, pods: int) -> None:
        self.used[key] = pods


class ApiServerOfDicts:
    """Answers live reads from two dicts, after a delay or not at all."""

    def __init__(self) -> None:
        self.pods: dict[tuple[str, str], Pod] = {}
        self.accounts: dict[tuple[str, str], ServiceAccount] = {}
        self.delay = 0.0
        self.down = False
        self.reads: list[str] = []

    def put(self, *objects: Pod | ServiceAccount) -> None:
        for item in objects:
            if isinstance(item, Pod):
                self.pods[item.namespace, item.name] = item
            else:
                self.accounts[item.namespace, item.name] = item

    async def _answer(self, what: str) -> None:
        self.reads.append(what)
        if self.down:
            raise ConnectionError("refused")
        await asyncio.sleep(self.delay)

    async def pod(self, *, namespace: str, name: str) -> Pod | None:
        found = self.pods.get((namespace, name))
        await self._answer(f"pod {namespace}/{name}")
        return found

    async def service_account(self, *, namespace: str, name: str) -> ServiceAccount | None:
        found = self.accounts.get((namespace, name))
        await self._answer(f"account {namespace}/{name}")
        return found


class Watches:
    """Watches whose age a test sets: silent since `heard`, on the loop's clock; None means heard just now."""

    def __init__(self) -> None:
        self.heard: float | None = None
        self.listing = False

    def is_listing_pods(self) -> bool:
        return self.listing

    def age(self) -> float:
        return 0.0 if self.heard is None else asyncio.get_running_loop().time() - self.heard


class GenerousLimiter:
    """Gives everybody a token, except those it was told to starve."""

    def __init__(self) -> None:
        self.starved: set[Hashable] = set()

    def try_take(self, key: Hashable) -> bool:
        return key not in self.starved


class Cluster:
    """A directory over the fakes above, with short cuts for what the watches would deliver."""

    def __init__(self, *, max_stale: float = 900.0, sink: RecordingSink | None = None) -> None:
        self.waits = Waits()
        self.sink = sink or RecordingSink()
        self.api = ApiServerOfDicts()
        self.watches = Watches()
        self.limiter = GenerousLimiter()
        self.registry = CollectorRegistry()
        self.directory = Directory(
            waits=self.waits,
            sink=self.sink,
            reader=self.api,
            watches=self.watches,
            account_limiter=self.limiter,
            now=loop_now,
            max_stale=max_stale,
            registry=self.registry,
        )
        self.chain = self.directory.chain
        self._feeds: dict[type, Feed[Any]] = {
            Pod: self.directory.pod_feed,
            ServiceAccount: self.directory.account_feed,
            Node: self.directory.node_feed,
        }
        self._seen: dict[tuple[str, str, str], Pod | ServiceAccount | Node] = {}

    def sync(self) -> None:
        """All three watches have delivered their first list."""
        for feed in self._feeds.values():
            feed.synced()

    def deliver(self, *objects: Pod | ServiceAccount | Node) -> None:
        """The watches deliver these objects as they stand now."""
        for item in objects:
            key = _key(item)
            old = self._seen.get(key)
            self._seen[key] = item
            self.feed(old, item)

    def deliver_deletion(self, *objects: Pod | ServiceAccount | Node) -> None:
        """The watches deliver that these objects are gone."""
        for item in objects:
            self.feed(self._seen.pop(_key(item)), None)

    def feed(self, old: Pod | ServiceAccount | Node | None, new: Pod | ServiceAccount | Node | None) -> None:
        """One change as a watch reports it."""
        self._feeds[type(new or old)].changed(old, new)


def _key(item: Pod | ServiceAccount | Node) -> tuple[str, str, str]:
    return type(item).__name__, getattr(item, "namespace", ""), item.name
