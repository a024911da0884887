"""The rules in a real kernel: what others do to them is found, told and repaired, and nothing else is touched."""

import pytest

from ip2service.kernel_protocols import ForeignTable, KernelError
from ip2service.layout import Contents, Family, Route
from ip2service.policy_rules import wanted_rules
from ip2service.ruleset import (
    GUARD_TABLE,
    ROUTING_TABLE,
    guard_table,
    routing_table,
)
from tests.support.installed_rules import (
    PRIORITY,
    ROUTED,
    SERVICE,
    StuckTables,
    TablesBesideAnother,
    TablesListedInAnotherWay,
    fresh_node,
    without_timed,
)
from tests.support.router_contents import CLUSTER_IPS

pytestmark = pytest.mark.netns


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
