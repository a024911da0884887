"""A kernel in memory, for tests of what is around the rules: the real ones' are in tests/netns."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field

from iam4kube.kube.objects import Address
from ip2service.kernel_access import Kernel
from ip2service.kernel_protocols import KernelError
from ip2service.layout import Contents, Family, Layout
from ip2service.policy_rules import Action, PolicyRule, priorities, wanted_rules
from ip2service.ruleset import GUARD_TABLE, ROUTING_TABLE, Elements, guard_table, routing_table, wanted_elements

PRIORITY = 89
"""Of the first policy rule that is ours."""


@dataclass(kw_only=True)
class Table:
    """A table as `TableState`."""

    comment: str
    structure: str
    elements: Elements = field(default_factory=dict)
    packets: Mapping[str, int] = field(default_factory=dict)


@dataclass
class KernelInMemory:
    """Takes each transaction for the installation of everything, as a router's first one is, or refuses all."""

    layout: Layout = field(default_factory=Layout)
    refusal: str = ""
    unreadable_policy: str = ""
    """Why policy rules cannot be read."""
    stuck_policy: str = ""
    """Why policy rules cannot be added."""
    tables: dict[str, Table] = field(default_factory=dict)
    rules: set[PolicyRule] = field(default_factory=set)
    links: frozenset[str] = frozenset({"lo"})
    applied: list[str] = field(default_factory=list)
    deleted: list[PolicyRule] = field(default_factory=list)

    async def apply(self, text: str, /) -> None:
        self._check()
        self.applied.append(text)
        rules = self.rules
        self.install(Contents())
        if self.stuck_policy:
            self.rules = rules

    async def read(self, table: str, /) -> Table | None:
        self._check()
        return self.tables.get(table)

    def install(self, contents: Contents, *, origin: str = "router") -> None:
        """Everything that a router makes."""
        elements = wanted_elements(self.layout, contents)
        for name, structure in (
            (GUARD_TABLE, guard_table(self.layout, origin=origin)),
            (ROUTING_TABLE, routing_table(self.layout)),
        ):
            own = {key: values for key, values in elements.items() if key.startswith(f"{name} ")}
            comment = structure.split('"')[1]
            self.tables[name] = Table(comment=comment, structure=structure, elements=own)
        self.rules = set(wanted_rules(self.layout, contents, priority=PRIORITY))

    @asynccontextmanager
    async def opened(self, _layout: Layout, *, rule_priority: int) -> AsyncIterator[Kernel]:
        """In the place of `open_kernel`."""
        yield self.kernel()

    def kernel(self) -> Kernel:
        """What the program gets."""
        return Kernel(
            layout=self.layout,
            tables=self,
            policy=_Policy(self),
            refusing=self._refusing,
            connections=_Connections(),
            link_names=self._link_names,
            notices=lambda _on_change: nullcontext(),
        )

    async def _refusing(self) -> frozenset[PolicyRule]:
        return frozenset(rule for rule in self.rules if rule.action is Action.PROHIBIT)

    async def _link_names(self) -> frozenset[str]:
        return self.links

    def _check(self) -> None:
        if self.refusal:
            raise KernelError(self.refusal)


@dataclass
class _Policy:
    memory: KernelInMemory

    async def read(self) -> frozenset[PolicyRule]:
        if self.memory.unreadable_policy:
            raise KernelError(self.memory.unreadable_policy)
        return frozenset(rule for rule in self.memory.rules if rule.priority in priorities(PRIORITY))

    async def add(self, rule: PolicyRule, /) -> None:
        if self.memory.stuck_policy:
            raise KernelError(self.memory.stuck_policy)
        self.memory.rules.add(rule)

    async def delete(self, rule: PolicyRule, /) -> None:
        self.memory.deleted.append(rule)
        self.memory.rules.discard(rule)


class _Connections:
    async def forget(self, *, frontends: Mapping[Family, Address], port: int, keep: Collection[Address]) -> int:
        return 0
