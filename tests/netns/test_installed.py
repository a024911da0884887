"""The rules in a real kernel: what is applied, adopted, carried over and left alone."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given, settings

from iam4kube.kube.objects import Address
from ip2service.kernel_protocols import ForeignTable, KernelError, Tables, TableState
from ip2service.layout import STAND_IN, Contents, Family, Layout, Mode, Route
from ip2service.policy_rules import wanted_rules
from ip2service.ruleset import (
    GUARD_TABLE,
    ROUTING_TABLE,
    TIMED,
    Elements,
    guard_table,
    routing_table,
    wanted_elements,
)
from tests.support.installed_rules import (
    PRIORITY,
    ROUTED,
    SERVICE,
    fresh_node,
    without_timed,
)
from tests.support.router_contents import CLUSTER_IPS, LAYOUTS, endpoints, histories

pytestmark = pytest.mark.netns


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


async def test_a_policy_rule_that_is_refused_at_the_start_is_left_to_the_verification() -> None:
    """The tables are there, and a router that ends now would be of no use to anybody."""
    async with fresh_node() as node:
        node.policy.stuck = True
        router = await node.started()
        assert set((await node.snapshot()).tables) == {GUARD_TABLE, ROUTING_TABLE}
        assert str((await router.verify()).refused) == "File exists"
        node.policy.stuck = False
        assert (await router.verify()).refused is None
        assert node.policy.rules == wanted_rules(SERVICE, Contents(), priority=PRIORITY)


@dataclass
class UnreadOnceWritten:
    """The kernel's tables, which cannot be read any more once there is something in them."""

    tables: Tables

    async def apply(self, text: str) -> None:
        await self.tables.apply(text)

    async def read(self, table: str) -> TableState | None:
        if await self.tables.read(table) is not None:
            raise KernelError("no answer from the kernel")
        return None


async def test_no_start_fails_with_tables_written() -> None:
    """Whoever hears that it failed thinks that nothing was done."""
    async with fresh_node() as node:
        tables, node.tables = node.tables, UnreadOnceWritten(node.tables)
        router = await node.started()
        with pytest.raises(KernelError, match="no answer"):
            await router.verify()
        assert node.policy.rules == wanted_rules(SERVICE, Contents(), priority=PRIORITY)
        node.tables = tables
        assert (await (await node.started()).verify()).drifts == ()


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
