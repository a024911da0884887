"""The kernel as the commands use it: its parts opened together, and closed again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from ip2service.kernel.conntrack import ConnectionTracking
from ip2service.kernel.links import link_names
from ip2service.kernel.netlink import Netlink
from ip2service.kernel.nft import NfTables
from ip2service.kernel.notifications import Notifications
from ip2service.kernel.policy_rules import PolicyRules
from ip2service.kernel_protocols import Connections, PolicyRouting, Snapshot, Tables
from ip2service.layout import Layout
from ip2service.ruleset import GUARD_TABLE, ROUTING_TABLE


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What the kernel can be asked."""

    tables: Tables
    policy: PolicyRouting
    connections: Connections
    link_names: Callable[[], Awaitable[frozenset[str]]]
    """Those of the node. Raises `KernelError`."""
    notices: Callable[[Callable[[], None]], AbstractAsyncContextManager[object]]
    """Calls back when rules of ours have changed, by whomever, while it is entered. Raises `KernelError`."""

    async def snapshot(self) -> Snapshot:
        """What there is of ours, or at least of our tables' names. Raises `KernelError`."""
        read = {name: await self.tables.read(name) for name in (GUARD_TABLE, ROUTING_TABLE)}
        present = {name: table for name, table in read.items() if table is not None}
        return Snapshot(tables=present, policy=await self.policy.read())


@asynccontextmanager
async def open_kernel(layout: Layout, *, rule_priority: int) -> AsyncIterator[Kernel]:
    """The kernel. Changes nothing. Raises `SettingsError` where libnftables is missing, and `KernelError`."""
    async with NfTables() as tables, Netlink() as netlink:
        yield Kernel(
            tables=tables,
            policy=PolicyRules(netlink, intercepted=layout.intercepted, priority=rule_priority),
            connections=ConnectionTracking(netlink),
            link_names=lambda: link_names(netlink),
            notices=lambda on_change: Notifications(
                netlink, intercepted=layout.intercepted.values(), on_change=on_change
            ),
        )
