"""In which order everything of ours is removed, and what is left alone. What it does in a kernel is in tests/netns."""

import pytest

from ip2service.kernel_protocols import ForeignTable
from ip2service.layout import Contents
from ip2service.policy_rules import Action
from ip2service.removal import remove
from ip2service.ruleset import GUARD_TABLE
from tests.support.router_kernel import KernelInMemory


async def test_what_refuses_goes_before_what_lets_the_node_pass_r25() -> None:
    """In between, the node itself would be refused."""
    memory = KernelInMemory()
    memory.install(Contents())
    await remove(memory.kernel())
    assert [rule.action for rule in memory.deleted] == [Action.PROHIBIT] * 2 + [Action.MAIN] * 2


async def test_nothing_is_done_where_there_is_nothing() -> None:
    """Again and again."""
    memory = KernelInMemory()
    assert await remove(memory.kernel()) == ()
    assert memory.applied == []


async def test_one_foreign_table_keeps_everything() -> None:
    """Whoever put it there may rely on the rest."""
    memory = KernelInMemory()
    memory.install(Contents())
    memory.tables[GUARD_TABLE].comment = ""
    with pytest.raises(ForeignTable, match="table inet ip2service_guard belongs to somebody else"):
        await remove(memory.kernel())
    assert (memory.applied, memory.deleted) == ([], [])
