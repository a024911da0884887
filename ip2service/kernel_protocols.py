"""What the router asks of the kernel, and what it gets: `ip2service.kernel` does it, and tests that need no kernel."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from iam4kube.kube.objects import Address
from ip2service.differences import Drift
from ip2service.layout import Family
from ip2service.policy_rules import PolicyRule
from ip2service.ruleset import Elements, owner_comment


class KernelError(Exception):
    """The kernel refused, or did not answer in time. Says what was asked."""


class ForeignTable(Exception):
    """Tables of our names that are not ours."""

    def __init__(self, names: Sequence[str]) -> None:
        self.mistakes = [
            f"table inet {name} belongs to somebody else: its comment does not begin with {owner_comment(name)!r}; "
            f"look at it with `nft list table inet {name}`, and delete it if nobody needs it"
            for name in names
        ]
        super().__init__("; ".join(self.mistakes))


class TableState(Protocol):
    """One table as the kernel has it."""

    @property
    def comment(self) -> str:
        """Says whose it is; empty for none."""
        ...

    @property
    def structure(self) -> str:
        """Everything but elements and counters, as text."""
        ...

    @property
    def elements(self) -> Elements:
        """What its maps and sets hold."""
        ...

    @property
    def packets(self) -> Mapping[str, int]:
        """By chain, what its rules have counted."""
        ...


class Tables(Protocol):
    """nftables."""

    async def apply(self, text: str, /) -> None:
        """Run one transaction. Raises `KernelError`; then nothing of it holds."""
        ...

    async def read(self, table: str, /) -> TableState | None:
        """Read one table of family inet, None if there is none. Raises `KernelError`."""
        ...


class PolicyRouting(Protocol):
    """Rules of policy routing, of ours only."""

    async def read(self) -> frozenset[PolicyRule]:
        """Those at our priorities about intercepted addresses. Raises `KernelError`."""
        ...

    async def add(self, rule: PolicyRule, /) -> None:
        """Add one; fine if it is there. Raises `KernelError`."""
        ...

    async def delete(self, rule: PolicyRule, /) -> None:
        """Delete one; fine if it is not there. Raises `KernelError`."""
        ...


class Connections(Protocol):
    """Connection tracking."""

    async def forget(self, *, frontends: Mapping[Family, Address], port: int, keep: Collection[Address]) -> int:
        """Delete entries of connections that were opened to a frontend's port, except those that `keep` answers.

        Returns how many. Raises `KernelError`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the kernel has at one moment."""

    tables: Mapping[str, TableState]
    """Those of ours that are there, by name."""
    policy: frozenset[PolicyRule]

    @property
    def elements(self) -> Elements:
        """Of all tables."""
        return {name: keys for table in self.tables.values() for name, keys in table.elements.items()}

    def packets(self, table: str, chain: str) -> int:
        """How many packets the rules of a chain have counted; 0 if it is not there."""
        return self.tables[table].packets.get(chain, 0) if table in self.tables else 0


class Verification(NamedTuple):
    """What a comparison with the kernel came to. The tables are as they should be."""

    found: Snapshot
    drifts: tuple[Drift, ...]
    """In what it differed."""
    refused: KernelError | None = None
    """Why the policy rules are not as they should be."""
