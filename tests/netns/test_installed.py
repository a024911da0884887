"""The rules in a real kernel: what is applied, adopted, repaired and left alone."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings

from iam4kube.kube.objects import Address
from iam4kube.sandbox.network import Namespace
from ip2service.installed import InstalledRules
from ip2service.kernel.nft import NfTables
from ip2service.kernel_protocols import ForeignTable, KernelError, Snapshot, Tables, TableState
from ip2service.layout import STAND_IN, Contents, Family, Layout, Mode, Route
from ip2service.policy_rules import PolicyRule, wanted_rules
from ip2service.ruleset import (
    GUARD_TABLE,
    ROUTING_TABLE,
    TIMED,
    Elements,
    guard_table,
    routing_table,
    wanted_elements,
)
from tests.support.router_contents import CLUSTER_IPS, LAYOUTS, endpoints, histories
from tests.support.router_kernel import Table

pytestmark = pytest.mark.netns

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


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_the_kernel_lists_structures_in_the_words_they_were_written_in(layout: Layout) -> None:
    """So one text is installed, reviewed and compared with."""
    async with fresh_node() as node:
        await node.started(layout)
        found = await node.snapshot()
        assert found.tables[GUARD_TABLE].structure == guard_table(layout)
        assert found.tables[ROUTING_TABLE].structure == routing_table(layout)
        assert found.policy == wanted_rules(layout, Contents(), priority=PRIORITY)


@settings(max_examples=60, deadline=None)
@given(histories())
def test_any_sequence_of_updates_leads_to_what_installing_the_last_one_afresh_leads_to(
    history: tuple[Layout, list[Contents]],
) -> None:
    """But for frontends on their way out; and verification finds nothing to repair after any of them."""
    layout, wishes = history

    async def both_ways() -> None:
        async with fresh_node() as long_lived, fresh_node() as new:
            router = await long_lived.started(layout)
            for wish in wishes:
                await router.apply(wish)
                assert (await router.verify())[1] == ()
            await (await new.started(layout)).apply(wishes[-1])
            one, other = await long_lived.snapshot(), await new.snapshot()
            assert one.policy == other.policy
            assert without_timed(one.elements) == without_timed(other.elements)
            assert _exempt(one.elements) == _exempt(other.elements)
            assert {name: table.structure for name, table in one.tables.items()} == {
                name: table.structure for name, table in other.tables.items()
            }

    asyncio.run(both_ways())


def _exempt(elements: Elements) -> Elements:
    return {name: keys for name, keys in elements.items() if "exempt" in name}


async def test_r20_a_table_that_was_left_half_made_is_made_whole() -> None:
    """A process that died in the middle, or a hand, left chains without their rules: they are not taken for done."""
    async with fresh_node() as node:
        router = await node.started()
        await router.apply(ROUTED)
        await node.nft(f"flush chain inet {ROUTING_TABLE} there\nflush chain inet {GUARD_TABLE} prerouting\n")
        await (await node.started()).apply(ROUTED)
        found = await node.snapshot()
        assert found.tables[ROUTING_TABLE].structure == routing_table(SERVICE)
        assert found.tables[GUARD_TABLE].structure == guard_table(SERVICE)
        assert found.elements["ip2service open4"] == {"169.254.169.254 . 80": "10.96.0.50"}


async def test_a_new_process_adopts_everything_and_writes_nothing() -> None:
    """Until it has heard of the API server, what its predecessor left is the best that is known."""
    async with fresh_node() as node:
        await (await node.started()).apply(ROUTED)
        before = node.listing()
        successor = await node.started()
        await successor.verify()
        assert node.listing() == before
        await successor.apply(ROUTED)
        assert node.listing() == before


async def test_an_adopted_exemption_is_left_to_expire() -> None:
    """Nobody has confirmed the pod since: neither renewed nor put back, and not cut off either."""
    exempt = frozenset({Address("10.1.0.9")})
    contents = Contents(routes={Family.IPV4: Route(frontend=CLUSTER_IPS[Family.IPV4][0], gate=True, exempt=exempt)})
    async with fresh_node() as node:
        await (await node.started()).apply(contents)
        successor = await node.started()
        await successor.renew()
        assert (await node.snapshot()).elements[f"{GUARD_TABLE} exempt4"] == {"10.1.0.9": TIMED}
        assert node.policy.rules == wanted_rules(SERVICE, contents, priority=PRIORITY)
        for table in (GUARD_TABLE, ROUTING_TABLE):
            await node.nft(f"delete element inet {table} exempt4 {{ 10.1.0.9 }}")  # as its timeout does
        assert (await successor.verify())[1] == ()
        assert (await node.snapshot()).elements[f"{GUARD_TABLE} exempt4"] == {}
        assert node.policy.rules == wanted_rules(SERVICE, Contents(), priority=PRIORITY)


async def test_exempt_pods_are_left_as_they_are_while_nobody_knows_who_should_be() -> None:
    """Their kept connections go on; but for their time, which nobody makes longer, and for what is known to be over."""
    frontend, exempt = CLUSTER_IPS[Family.IPV4][0], frozenset({Address("10.1.0.9")})
    contents = Contents(routes={Family.IPV4: Route(frontend=frontend, gate=True, exempt=exempt)})
    unknown = Contents(routes={Family.IPV4: Route(frontend=frontend, exempt=None)})
    async with fresh_node() as node:
        await (await node.started()).apply(contents)
        successor = await node.started()
        before = node.policy.rules.copy()
        await successor.apply(unknown)
        await successor.renew()
        assert (await successor.verify())[1] == ()
        found = (await node.snapshot()).elements
        assert found["ip2service opening4"] == {}
        for table in (GUARD_TABLE, ROUTING_TABLE):
            assert found[f"{table} exempt4"] == {"10.1.0.9": TIMED}
        assert node.policy.rules == before
        for table in (GUARD_TABLE, ROUTING_TABLE):
            await node.nft(f"delete element inet {table} exempt4 {{ 10.1.0.9 }}")  # as its timeout does
        assert (await successor.verify())[1] == ()
        assert node.policy.rules == wanted_rules(SERVICE, Contents(), priority=PRIORITY)
        await successor.apply(contents)
        assert node.policy.rules == before


async def test_elements_are_carried_over_when_a_release_changes_the_table() -> None:
    """The table is replaced in one transaction, with what the old one held: connections go on."""
    async with fresh_node() as node:
        await (await node.started()).apply(ROUTED)
        await node.nft(f"add chain inet {ROUTING_TABLE} of_an_older_release")
        await node.started()
        found = await node.snapshot()
        assert found.tables[ROUTING_TABLE].structure == routing_table(SERVICE)
        assert found.elements["ip2service opening4"] == {"169.254.169.254 . 80": "10.96.0.50"}


@pytest.mark.parametrize(("name", "declaration"), [(GUARD_TABLE, "set exempt4"), (ROUTING_TABLE, "set frontends4")])
async def test_what_another_release_left_in_another_form_is_left_behind(name: str, declaration: str) -> None:
    """After a downgrade, say: what does not fit cannot be carried over, and must not keep the router from starting."""
    kind = "type ether_addr; flags timeout; elements = { 02:00:00:00:00:01 timeout 60s };"
    comment = guard_table(SERVICE).split('"')[1] if name == GUARD_TABLE else "ip2service routing 2"
    async with fresh_node() as node:
        await node.nft(f'table inet {name} {{ comment "{comment}"; {declaration} {{ {kind} }}; }}')
        router = await node.started()
        assert (await router.verify())[1] == ()
        found = await node.snapshot()
        assert found.tables[GUARD_TABLE].structure == guard_table(SERVICE)
        assert found.tables[ROUTING_TABLE].structure == routing_table(SERVICE)
        assert not any(found.elements.values())


async def test_the_guard_of_the_boot_rules_is_left_as_it_is() -> None:
    """Its rules are the same; who installed it can be told as long as it is there."""
    async with fresh_node() as node:
        await node.nft(guard_table(SERVICE, origin="boot"))
        before = node.listing()
        router = await node.started()
        assert (await router.verify())[1] == ()
        assert node.listing().startswith(before.rstrip("\n"))


@pytest.mark.parametrize("name", [GUARD_TABLE, ROUTING_TABLE])
async def test_a_table_of_somebody_else_under_our_name_is_refused_and_nothing_is_changed(name: str) -> None:
    """Not even the other table is made: whoever has the name has to be asked first."""
    async with fresh_node() as node:
        await node.nft(f'table inet {name} {{ comment "of another program"; }}')
        before = node.listing()
        with pytest.raises(ForeignTable, match=rf"nft list table inet {name}`"):
            await node.router().prepare()
        assert node.listing() == before
        assert not node.policy.rules


DAMAGES = {
    "flush ruleset": {"table"},
    f"delete table inet {ROUTING_TABLE}": {"table"},
    f"delete table inet {GUARD_TABLE}": {"table"},
    f"flush chain inet {GUARD_TABLE} forward": {"table"},
    f"insert rule inet {GUARD_TABLE} prerouting accept": {"table"},
    f"flush map inet {ROUTING_TABLE} open4": {"elements"},
    f"add element inet {ROUTING_TABLE} frontends4 {{ 10.9.9.9 . 8169 }}": {"elements"},
    f"flush map inet {ROUTING_TABLE} opening4\n"
    f"add element inet {ROUTING_TABLE} opening4 {{ 169.254.169.254 . 80 : 10.9.9.9 }}": {"elements"},
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_another_program_does_to_the_rules_is_found_told_and_repaired(damage: str) -> None:
    """Whatever it is: a table, a rule, an element, or everything."""
    async with fresh_node() as node:
        router = await node.started()
        await router.apply(ROUTED)
        whole = await node.snapshot()
        await node.nft(damage)
        drifts = (await router.verify())[1]
        assert {drift.what for drift in drifts} == DAMAGES[damage]
        assert all(drift.detail for drift in drifts)
        mended = await node.snapshot()
        assert without_timed(mended.elements) == without_timed(whole.elements)
        assert {name: each.structure for name, each in mended.tables.items()} == {
            name: each.structure for name, each in whole.tables.items()
        }
        assert (await router.verify())[1] == ()


@pytest.mark.parametrize("contents", [ROUTED, None])
@pytest.mark.parametrize(
    "element",
    [
        f"{ROUTING_TABLE} frontends4 {{ 10.9.9.9 . 8169 timeout 1h }}",
        f"{GUARD_TABLE} exempt4 {{ 10.9.9.9 timeout 1h }}",
    ],
)
async def test_an_element_that_expires_and_never_was_ours_is_drift(contents: Contents | None, element: str) -> None:
    """Replies from anywhere would be taken for the real service's, or a pod let through; and ours stay as they are."""
    other = Contents(routes={Family.IPV4: Route(frontend=CLUSTER_IPS[Family.IPV4][1], gate=True)})
    async with fresh_node() as node:
        await (await node.started()).apply(other)
        router = await node.started()
        if contents is not None:
            await router.apply(contents)
        before = (await node.snapshot()).elements
        await node.nft(f"add element inet {element}")
        [drift] = (await router.verify())[1]
        assert (drift.what, drift.where) == ("elements", " ".join(element.split()[:2]))
        assert drift.detail in {"+10.9.9.9 . 8169 timeout", "+10.9.9.9 timeout"}
        assert (await node.snapshot()).elements == before
        assert (await router.verify())[1] == ()


@pytest.mark.parametrize("name", [GUARD_TABLE, ROUTING_TABLE])
async def test_what_is_changed_right_after_a_repair_is_not_taken_for_right(name: str) -> None:
    """A program that answers each repair at once wins only for as long as it goes on."""
    change = f"insert rule inet {name} {'there' if name == ROUTING_TABLE else 'prerouting'} accept\n"
    async with fresh_node() as node:
        another = TablesBesideAnother(node.tables)
        node.tables = another
        router = await node.started()
        another.answer = change
        await node.nft("")
        assert len((await router.verify())[1]) == 1
        another.answer = ""
        assert [drift.what for drift in (await router.verify())[1]] == ["table"]
        assert (await router.verify())[1] == ()
        found = await node.snapshot()
        assert found.tables[GUARD_TABLE].structure == guard_table(SERVICE)
        assert found.tables[ROUTING_TABLE].structure == routing_table(SERVICE)


async def test_another_way_of_listing_the_same_rules_is_no_drift() -> None:
    """The words are libnftables', and releases change them: what is installed is not installed again and again."""
    async with fresh_node() as node:
        node.tables = TablesListedInAnotherWay(node.tables)
        router = await node.started()
        before = node.listing()
        assert (await router.verify())[1] == ()
        assert node.listing() == before
        await node.nft(f"insert rule inet {GUARD_TABLE} prerouting accept")
        assert [drift.what for drift in (await router.verify())[1]] == ["table"]
        assert (await router.verify())[1] == ()


async def test_policy_rules_that_vanish_come_back() -> None:
    """Some network managers flush rules that are not theirs."""
    async with fresh_node() as node:
        router = await node.started()
        whole = set(node.policy.rules)
        node.policy.rules.pop()
        assert [drift.what for drift in (await router.verify())[1]] == ["policy"]
        assert node.policy.rules == whole


async def test_tables_of_others_are_never_touched() -> None:
    """Start, change, repair: what is not ours keeps even its handles."""
    foreign = "table inet other {\n\tchain input {\n\t\ttype filter hook input priority 0; policy accept;\n\t}\n}\n"
    async with fresh_node() as node:
        await node.nft(foreign)
        before = node.listing()
        router = await node.started()
        await router.apply(ROUTED)
        await node.nft(f"delete table inet {ROUTING_TABLE}")
        await router.verify()
        assert node.listing().startswith(before.rstrip("\n"))


async def test_a_transaction_that_fails_is_made_good_by_the_next_verification() -> None:
    """The belief about the kernel was wrong: the difference to it cannot be applied, what is there can be mended."""
    async with fresh_node() as node:
        router = await node.started()
        await router.apply(ROUTED)
        await node.nft(f"delete element inet {ROUTING_TABLE} opening4 {{ 169.254.169.254 . 80 }}")
        with pytest.raises(KernelError):
            await router.apply(Contents())
        await router.verify()
        assert not any(without_timed((await node.snapshot()).elements).values())


async def test_tables_do_not_wait_for_a_policy_rule_that_is_refused() -> None:
    """Neither to follow a wish nor to be repaired; what is refused is returned."""
    async with fresh_node() as node:
        router = await node.started()
        node.policy.rules.clear()
        node.policy.stuck = True
        verification = await router.verify(ROUTED)
        assert str(verification.refused) == "File exists"
        assert (await node.snapshot()).elements["ip2service opening4"] == {"169.254.169.254 . 80": "10.96.0.50"}
        assert str(await router.apply(Contents())) == "File exists"
        assert (await node.snapshot()).elements["ip2service opening4"] == {}
        await node.nft("flush ruleset")
        drifts = (await router.verify())[1]
        assert [drift.where for drift in drifts] == [GUARD_TABLE, ROUTING_TABLE]
        node.policy.stuck = False
        assert (await router.verify()).refused is None
        assert node.policy.rules == wanted_rules(SERVICE, Contents(), priority=PRIORITY)


async def test_policy_rules_do_not_wait_for_a_table_that_is_refused() -> None:
    """Somebody has taken its name, or nftables is busy: the second guard is what is left."""
    async with fresh_node() as node:
        router = await node.started()
        whole, tables = node.policy.rules.copy(), node.tables
        node.policy.rules.clear()
        await node.nft(f"delete table inet {ROUTING_TABLE}\nadd table inet {ROUTING_TABLE}")
        with pytest.raises(ForeignTable):
            await router.verify()
        assert node.policy.rules == whole
        await node.nft(f"delete table inet {ROUTING_TABLE}")
        node.policy.rules.clear()
        node.tables = StuckTables(tables)
        successor = node.router()
        with pytest.raises(KernelError, match="busy"):
            await successor.verify(ROUTED)
        assert node.policy.rules == whole


async def test_connections_are_forgotten_in_endpoints_mode_only() -> None:
    """In service mode they are kube-proxy's."""
    known = [each.address for each in endpoints(Family.IPV4, 2)]
    async with fresh_node() as node:
        await node.router(Layout(mode=Mode.SERVICE)).forget_connections(known)
        assert node.connections.asked == []
        await node.router(Layout(mode=Mode.ENDPOINTS)).forget_connections(known)
        assert node.connections.asked == [(STAND_IN, 8169, known)]


async def test_an_empty_start_routes_nothing() -> None:
    """Before anything is known, everything is refused."""
    async with fresh_node() as node:
        await node.started()
        assert (await node.snapshot()).elements == {name: {} for name in wanted_elements(SERVICE, Contents())}
