"""Notices of changed rules, from the real kernel."""

import asyncio
import subprocess
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from iam4kube.sandbox.network import Namespace
from iam4kube.sandbox.network.commands import configure
from ip2service.kernel.netlink import Netlink
from ip2service.kernel.nft import NfTables
from ip2service.kernel.notifications import Notifications
from ip2service.layout import Layout
from ip2service.ruleset import GUARD_TABLE, ROUTING_TABLE, guard_table, routing_table
from tests.support.other_program import big_table, write_rules

pytestmark = pytest.mark.netns

LAYOUT = Layout()


class Heard:
    """How often the callback was called, once everything that was sent has been read."""

    def __init__(self) -> None:
        self._count = 0

    def notice(self) -> None:
        self._count += 1

    async def now(self) -> bool:
        """Whether anything came since the last time. The kernel sends before the change's maker goes on."""
        for _ in range(20):  # turns of the loop, each of which reads a hundred messages
            await asyncio.sleep(0)
        count, self._count = self._count, 0
        return count > 0


@pytest_asyncio.fixture
async def heard(tables: NfTables, netlink: Netlink) -> AsyncIterator[Heard]:
    """Both tables are there, and listened to."""
    await tables.apply(guard_table(LAYOUT) + routing_table(LAYOUT))
    heard = Heard()
    async with Notifications(netlink, intercepted=LAYOUT.intercepted.values(), on_change=heard.notice):
        yield heard


def add_ipv6_rule(namespace: Namespace, *rule: str) -> None:
    """With `ip`, whose batches know one family only."""
    subprocess.run(namespace.command("ip", "-6", "rule", "add", *rule), check=True, timeout=10)


@pytest.mark.parametrize(
    "change",
    [
        "flush ruleset",
        f"delete table inet {GUARD_TABLE}",
        f"delete table inet {ROUTING_TABLE}",
        f"flush chain inet {GUARD_TABLE} forward",
        f"add element inet {ROUTING_TABLE} open4 {{ 169.254.169.254 . 80 : 10.0.0.1 }}",
        f"add rule inet {ROUTING_TABLE} there accept",
    ],
)
async def test_a_change_of_our_tables_is_told(namespace: Namespace, heard: Heard, change: str) -> None:
    """Whoever changes a table of ours, and in whichever way, it is told."""
    write_rules(namespace, change)
    assert await heard.now()


async def test_our_table_among_many_elements_is_found(namespace: Namespace, heard: Heard) -> None:
    """A change of ours is told even if one transaction changes 10,000 elements of another table before it."""
    write_rules(namespace, f"{big_table(elements=10_000)}delete table inet {ROUTING_TABLE}\n")
    assert await heard.now()


async def test_another_table_is_not_told(namespace: Namespace, heard: Heard) -> None:
    """10,000 elements written and deleted in another program's table call nobody."""
    write_rules(namespace, big_table(elements=10_000))
    assert not await heard.now()
    write_rules(namespace, "delete table ip kube-proxy")
    assert not await heard.now()


async def test_lost_notices_count_as_a_change(namespace: Namespace, heard: Heard) -> None:
    """What does not fit into the socket's buffer is told: it may have been about us. After that all is as before."""
    write_rules(namespace, big_table(elements=60_000))
    assert await heard.now()
    write_rules(namespace, "delete table ip kube-proxy\nadd table inet other\n")
    assert not await heard.now()
    write_rules(namespace, f"delete table inet {GUARD_TABLE}")
    assert await heard.now()


@pytest.mark.parametrize(
    "rule", ["pref 91 to 169.254.169.254 prohibit", "pref 7 from 10.0.0.1 to 169.254.169.254 lookup 100"]
)
async def test_a_policy_rule_about_an_intercepted_address_is_told(
    namespace: Namespace, heard: Heard, rule: str
) -> None:
    """Adding and deleting it, at any priority: it may stand before ours."""
    for verb in ("add", "delete"):
        configure(namespace, f"rule {verb} {rule}")
        assert await heard.now()


async def test_an_ipv6_policy_rule_is_told(namespace: Namespace, heard: Heard) -> None:
    """The other family's rules are listened to as well."""
    add_ipv6_rule(namespace, "to", "fd00:ec2::254", "prohibit")
    assert await heard.now()


async def test_other_policy_rules_are_not_told(namespace: Namespace, heard: Heard) -> None:
    """The rules that a network plugin makes for each pod call nobody."""
    configure(namespace, *(f"rule add pref 512 to 10.0.{number}.1 lookup main" for number in range(200)))
    assert not await heard.now()


async def test_nothing_is_told_afterwards(namespace: Namespace, tables: NfTables, netlink: Netlink) -> None:
    """Once it is left, its sockets are closed, and nobody is called."""
    heard = Heard()
    async with Notifications(netlink, intercepted=LAYOUT.intercepted.values(), on_change=heard.notice):
        pass
    await tables.apply(guard_table(LAYOUT))
    assert not await heard.now()
