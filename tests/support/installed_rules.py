"""A node in a network namespace for one router after another, without their processes; and kernels with moods."""

import subprocess
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from iam4kube.kube.objects import Address
from iam4kube.sandbox.network import Namespace
from ip2service.installed import InstalledRules
from ip2service.kernel.nft import NfTables
from ip2service.kernel_protocols import KernelError, Snapshot, Tables, TableState
from ip2service.layout import Contents, Family, Layout, Route
from ip2service.policy_rules import PolicyRule
from ip2service.ruleset import (
    GUARD_TABLE,
    ROUTING_TABLE,
    TIMED,
    Elements,
)
from tests.support.router_contents import CLUSTER_IPS
from tests.support.router_kernel import Table

PRIORITY = 89
SERVICE = Layout()
ROUTED = Contents(routes={Family.IPV4: Route(frontend=CLUSTER_IPS[Family.IPV4][0], gate=True)})


@dataclass
class PolicyInMemory:
    """Policy rules without a kernel: tests/netns/kernel has those with one."""

    rules: set[PolicyRule] = field(default_factory=set)

    async def read(self) -> frozenset[PolicyRule]:
        return frozenset(self.rules)

    async def add(self, rule: PolicyRule) -> None:
        self.rules.add(rule)

    async def delete(self, rule: PolicyRule) -> None:
        self.rules.discard(rule)


@dataclass
class ConnectionsInMemory:
    """What was asked of connection tracking."""

    asked: list[tuple[Mapping[Family, Address], int, Collection[Address]]] = field(default_factory=list)

    async def forget(self, *, frontends: Mapping[Family, Address], port: int, keep: Collection[Address]) -> int:
        self.asked.append((frontends, port, keep))
        return 0


@dataclass
class TablesBesideAnother:
    """The kernel's tables, with a program that answers each transaction by one of its own."""

    tables: Tables
    answer: str = ""

    async def apply(self, text: str) -> None:
        await self.tables.apply(text + self.answer)

    async def read(self, table: str) -> TableState | None:
        return await self.tables.read(table)


@dataclass
class TablesListedInAnotherWay:
    """The kernel's tables as another libnftables might list them."""

    tables: Tables

    async def apply(self, text: str) -> None:
        await self.tables.apply(text)

    async def read(self, table: str) -> TableState | None:
        found = await self.tables.read(table)
        if found is None:
            return None
        structure = found.structure.replace("counter", "counter  ")
        return Table(comment=found.comment, structure=structure, elements=found.elements, packets=found.packets)


@dataclass
class StuckPolicy(PolicyInMemory):
    """Refuses while it is told to."""

    stuck: bool = False

    async def add(self, rule: PolicyRule) -> None:
        if self.stuck:
            raise KernelError("File exists")
        await super().add(rule)


@dataclass
class StuckTables:
    """The kernel's tables, which refuse every transaction."""

    tables: Tables

    async def apply(self, text: str) -> None:
        raise KernelError("Device or resource busy")

    async def read(self, table: str) -> TableState | None:
        return await self.tables.read(table)


class Node:
    """A network namespace with its kernel's tables, for one router after another."""

    def __init__(self, namespace: Namespace, tables: NfTables) -> None:
        self._namespace = namespace
        self.tables: Tables = tables
        self.policy = StuckPolicy()
        self.connections = ConnectionsInMemory()

    def router(self, layout: Layout = SERVICE) -> InstalledRules:
        """A router that has just started."""
        return InstalledRules(
            layout, rule_priority=PRIORITY, tables=self.tables, policy=self.policy, connections=self.connections
        )

    async def started(self, layout: Layout = SERVICE) -> InstalledRules:
        """The same, prepared."""
        router = self.router(layout)
        await router.prepare()
        return router

    async def nft(self, text: str) -> None:
        """What another program does."""
        await self.tables.apply(text)

    def listing(self) -> str:
        """All tables with handles: an object that was made anew has another."""
        command = ["nft", "--handle", "--stateless", "list", "ruleset"]
        return self._namespace.run(lambda: subprocess.run(command, capture_output=True, text=True, check=True)).stdout

    async def snapshot(self) -> Snapshot:
        """What the kernel has."""
        tables = {name: await self.tables.read(name) for name in (GUARD_TABLE, ROUTING_TABLE)}
        return Snapshot(
            tables={name: table for name, table in tables.items() if table is not None},
            policy=frozenset(self.policy.rules),
        )


@asynccontextmanager
async def fresh_node() -> AsyncIterator[Node]:
    """A node on which no router has run."""
    with Namespace() as namespace:
        async with NfTables(enter=namespace.enter) as tables:
            yield Node(namespace, tables)


def without_timed(elements: Elements) -> dict[str, dict[str, str]]:
    """Elements that stay."""
    return {name: {key: value for key, value in keys.items() if value != TIMED} for name, keys in elements.items()}
