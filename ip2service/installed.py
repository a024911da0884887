"""What is in the kernel: put there, compared with what should be there, and repaired.

The owner of the belief about the kernel's state. A change is applied as the difference to that belief, without
asking the kernel first, so it is there in a millisecond; `verify` then reads everything and finds out.

Tables are never written anew while their structure is right. What an earlier process left is adopted with its
elements: until the API server has been heard, that is the best that is known.
"""

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping

from iam4kube.kube.objects import Address
from ip2service.differences import Drift, element_drift, structure_drift
from ip2service.kernel_protocols import (
    Connections,
    ForeignTable,
    KernelError,
    PolicyRouting,
    Snapshot,
    Tables,
    TableState,
    Verification,
)
from ip2service.layout import STAND_IN, Contents, Family, Layout, Mode, Route
from ip2service.ruleset import (
    GUARD_TABLE,
    ROUTING_TABLE,
    TIMED,
    Elements,
    deletion,
    element_changes,
    elements_after,
    foreign_elements,
    guard_installation,
    guard_table,
    installation,
    left_to_expire,
    owner_comment,
    renewal,
    routing_table,
    wanted_elements,
)
from ip2service.second_guard import SecondGuard

_log = logging.getLogger(__name__)


class InstalledRules:
    """Owns the rules of one node. Calls must not overlap, one task makes them; but for `forget_connections`."""

    def __init__(
        self,
        layout: Layout,
        *,
        rule_priority: int,
        tables: Tables,
        policy: PolicyRouting,
        connections: Connections,
    ) -> None:
        self._layout = layout
        self._tables = tables
        self._second_guard = SecondGuard(layout, rule_priority=rule_priority, policy=policy)
        self._connections = connections
        self._contents: Contents | None = None
        self._elements: Elements = {}
        # As the kernel lists what was installed: exactly our text with the libnftables that the tests know, but
        # another release may print it in another way, which is no drift.
        self._structures = {GUARD_TABLE: guard_table(layout), ROUTING_TABLE: routing_table(layout)}
        self._listing_is_known = False

    async def prepare(self) -> None:
        """Put the guards in place, and adopt or make the routing table.

        Raises `ForeignTable` and `KernelError`, both with nothing changed. What the kernel refuses once the tables are
        there is left to `verify`, which tells it and tries again: pods would be refused for as long as the start fails.
        """
        await self._second_guard.look()
        found = await self._read_tables()
        _refuse_foreign(found)
        self._elements = found.elements
        try:
            await self._restore_tables(found)
        except KernelError as error:
            if not any(found.elements.values()):
                raise
            _log.warning("What an earlier router left does not fit; beginning anew", extra={"error": str(error)})
            self._elements = {}
            await self._restore_tables(Snapshot(tables={}, policy=found.policy))
        await self._change_policy()
        with contextlib.suppress(KernelError):
            await self._learn_listing()

    async def apply(self, contents: Contents) -> KernelError | None:
        """Bring maps, sets and policy rules to these contents. Returns why the policy rules are not there.

        Raises `KernelError` for maps and sets. In either case `verify` has to find out what there is.
        """
        self._contents = contents
        try:
            await self._change_elements()
        except KernelError:
            await self._change_policy()
            raise
        return await self._change_policy()

    async def _change_elements(self) -> None:
        wanted = self._wanted_elements(self._elements)
        text = element_changes(self._elements, wanted)
        if text:
            await self._tables.apply(text)
            self._elements = elements_after(self._elements, wanted)

    async def _change_policy(self) -> KernelError | None:
        try:
            await self._second_guard.bring_to(self._exempt())
        except KernelError as error:
            return error
        return None

    async def renew(self) -> None:
        """Let exempt pods stay so for another minute. Raises `KernelError`."""
        text = renewal(self._contents) if self._contents is not None else ""
        if text:
            await self._tables.apply(text)

    async def forget_connections(self, known: Collection[Address]) -> int:
        """In endpoints mode, forget connections to addresses that are no longer known. Returns how many.

        Raises `KernelError`. Connections to a terminating endpoint are known ones: without their entry, the next
        packet of a request under way would be answered by a reset.
        """
        if self._layout.mode is not Mode.ENDPOINTS:
            return 0
        frontends = {family: STAND_IN[family] for family in self._layout.intercepted}
        return await self._connections.forget(frontends=frontends, port=self._layout.router_port, keep=known)

    async def verify(self, contents: Contents | None = None) -> Verification:
        """Compare with the kernel, and repair; bring everything to these contents, if there are newer ones.

        Tables and policy rules do not wait for each other. Raises for the tables `KernelError`, and `ForeignTable`
        where somebody else has taken a name of ours in the meantime.
        """
        if contents is not None:
            self._contents = contents
        try:
            found, drifts = await self._verify_tables()
        except (KernelError, ForeignTable):
            await self._verify_policy()
            raise
        policy_drifts, refused = await self._verify_policy()
        return Verification(found, (*drifts, *policy_drifts), refused)

    async def _verify_tables(self) -> tuple[Snapshot, tuple[Drift, ...]]:
        found = await self._read_tables()
        _refuse_foreign(found)
        drifts = (*self._structure_drifts(found), *element_drift(self._elements, found.elements))
        await self._restore_tables(found)
        await self._learn_listing()
        return found, drifts

    async def _verify_policy(self) -> tuple[tuple[Drift, ...], KernelError | None]:
        try:
            drifts = await self._second_guard.look()
        except KernelError as error:
            return (), error
        return drifts, await self._change_policy()

    async def _restore_tables(self, found: Snapshot) -> None:
        """Make both tables as they should be, in one transaction, whatever was found: the guard first."""
        intact: Mapping[str, TableState] = {
            name: table for name, table in found.tables.items() if self._is_right(name, table)
        }
        wanted = self._wanted_elements(found.elements)
        text = ""
        if GUARD_TABLE not in intact:
            text += guard_installation(self._layout, wanted)
        if ROUTING_TABLE not in intact:
            text += installation(self._layout, wanted)
        before = {name: keys for table in intact.values() for name, keys in table.elements.items()}
        foreign = foreign_elements(self._elements, before)
        before |= {name: _without(before[name], foreign[name]) for name in foreign}
        kept = {name: keys for name, keys in wanted.items() if name in before}
        text += deletion(foreign) + element_changes(before, kept)
        if text:
            await self._tables.apply(text)
        self._elements = {**wanted, **elements_after(before, kept)}

    def _structure_drifts(self, found: Snapshot) -> Iterator[Drift]:
        for name, structure in self._structures.items():
            table = found.tables.get(name)
            if table is None or not self._is_right(name, table):
                yield from structure_drift(name, structure, None if table is None else table.structure)

    def _is_right(self, name: str, table: TableState) -> bool:
        """Whether the structure is ours; in the guard's case also as the boot rules install it."""
        if table.structure == self._structures[name]:
            return True
        return name == GUARD_TABLE and table.structure == guard_table(self._layout, origin="boot")

    async def _learn_listing(self) -> None:
        """Remember how the kernel lists what was installed, if it is not as it was written.

        Once, and not if one of the tables is listed as written: what differs after that was changed by somebody, also
        within the millisecond after a repair, and must not be taken for what is right.
        """
        if self._listing_is_known:
            return
        tables = (await self._read_tables()).tables
        self._listing_is_known = len(tables) == len(self._structures)
        if self._listing_is_known and not any(self._is_right(name, table) for name, table in tables.items()):
            _log.warning("This libnftables lists rules in a way of its own")
            self._structures = {name: table.structure for name, table in tables.items()}

    def _wanted_elements(self, found: Elements) -> Elements:
        """What should be there: for the contents, or as long as there are none, what an earlier process left.

        What expires by itself is left to it: retired cluster IPs, and exempt pods that nobody has confirmed.
        """
        if self._contents is None:
            names = wanted_elements(self._layout, Contents())
            return {name: _permanent(self._elements.get(name, {})) | self._expiring(name, found) for name in names}
        left = left_to_expire(self._layout, self._contents)
        wanted = wanted_elements(self._layout, self._contents)
        return {
            name: (self._expiring(name, found) if name in left else {}) | dict(keys) for name, keys in wanted.items()
        }

    def _expiring(self, name: str, found: Elements) -> dict[str, str]:
        """What is ours of what is left to expire."""
        known = self._elements.get(name, {})
        return {key: value for key, value in found.get(name, {}).items() if value == TIMED and key in known}

    def _exempt(self) -> Contents:
        """Who should be exempt, and nothing else."""
        return Contents(routes={family: Route(exempt=self._exempt_of(family)) for family in self._layout.intercepted})

    def _exempt_of(self, family: Family) -> frozenset[Address]:
        """Where nobody knows, those whom an earlier wish, or process, has left in the guard."""
        exempt = None if self._contents is None else self._contents.route(family).exempt
        if exempt is None:
            return frozenset(map(Address, self._elements.get(f"{GUARD_TABLE} exempt{family.value}", {})))
        return exempt

    async def _read_tables(self) -> Snapshot:
        tables = {name: await self._tables.read(name) for name in self._structures}
        present = {name: table for name, table in tables.items() if table is not None}
        return Snapshot(tables=present, policy=self._second_guard.rules)


def _refuse_foreign(found: Snapshot) -> None:
    foreign = [name for name, table in found.tables.items() if not table.comment.startswith(owner_comment(name))]
    if foreign:
        raise ForeignTable(foreign)


def _permanent(keys: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in keys.items() if value != TIMED}


def _without(keys: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in keys.items() if key not in others}
