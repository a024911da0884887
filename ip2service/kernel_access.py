"""The kernel as the commands use it: its parts opened together, and closed again."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ip2service.kernel.conntrack import ConnectionTracking
from ip2service.kernel.links import link_names
from ip2service.kernel.netlink import Netlink
from ip2service.kernel.nft import NfTables
from ip2service.kernel.notifications import Notifications
from ip2service.kernel.policy_rules import PolicyRules
from ip2service.kernel_protocols import Connections, PolicyRouting, Snapshot, Tables
from ip2service.layout import Family, Layout
from ip2service.policy_rules import PolicyRule
from ip2service.ruleset import GUARD_TABLE, ROUTING_TABLE

logger = logging.getLogger(__name__)

_IPV6: Final = Path("/proc/sys/net/ipv6")
"""Not there where the kernel was built or booted without IPv6 (`ipv6.disable=1`)."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What the kernel can be asked."""

    layout: Layout
    """Of the families that this kernel has."""
    tables: Tables
    policy: PolicyRouting
    refusing: Callable[[], Awaitable[frozenset[PolicyRule]]]
    """The policy rules that refuse an intercepted address, at whatever priority. Raises `KernelError`."""
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
    layout = within(layout, ipv6=_IPV6.exists())
    # Connections have a thread of their own: to look through them may take a second, and rules must not wait.
    async with NfTables() as tables, Netlink() as netlink, Netlink() as tracking:
        policy = PolicyRules(netlink, intercepted=layout.intercepted, priority=rule_priority)
        yield Kernel(
            layout=layout,
            tables=tables,
            policy=policy,
            refusing=policy.read_refusing,
            connections=ConnectionTracking(tracking),
            link_names=lambda: link_names(netlink),
            notices=lambda on_change: Notifications(
                netlink, intercepted=layout.intercepted.values(), on_change=on_change
            ),
        )


def within(layout: Layout, *, ipv6: bool) -> Layout:
    """The layout on a kernel with or without IPv6: without, no packet of that family exists, and no rule can."""
    if ipv6 or list(layout.intercepted) == [Family.IPV6]:
        return layout
    intercepted = dict(layout.intercepted)
    intercepted.pop(Family.IPV6, None)
    if len(intercepted) < len(layout.intercepted):
        logger.info("This kernel has no IPv6: there is nothing of it to route or to guard against")
    return replace(layout, intercepted=intercepted)
