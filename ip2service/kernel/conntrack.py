"""Connection tracking: forgets connections to servers that are gone.

A node may track hundreds of thousands of connections. Each that was opened to the router's port is looked at here:
to delete another program's would break its connection.
"""

import contextlib
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Final

from iam4kube.kube.objects import Address
from ip2service.kernel.conntrack_messages import ConnectionTable, Entry
from ip2service.kernel.netlink import Netlink
from ip2service.kernel.policy_rules import FAMILY_NUMBERS
from ip2service.layout import Family

_OVER: Final = {7, 8}
"""TCP_CONNTRACK_TIME_WAIT and _CLOSE. They go by themselves, and a new connection from the same port replaces them.
There may be a hundred thousand, and none has a client that waits."""
_DUMPS: Final = 3
"""So often the table is read at most, where changes of it interrupt that; after that whoever asked tries later."""


class ConnectionTracking:
    """The kernel's table of connections."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink

    async def forget(self, *, frontends: Mapping[Family, Address], port: int, keep: Collection[Address]) -> int:
        """Delete the TCP entries opened to a frontend's port, unless an address in `keep` answers them.

        Those of connections that are over already are left to expire. Returns how many were deleted. Raises
        `NetlinkRefused`, `KernelStuck`.
        """
        return await self._netlink.run(
            "connections cannot be forgotten",
            lambda: sum(_forget(family, frontend, port, keep) for family, frontend in frontends.items()),
        )


def _forget(family: Family, frontend: Address, port: int, keep: Collection[Address]) -> int:
    number = FAMILY_NUMBERS[family]
    destination = socket.inet_pton(number, frontend)
    kept = {socket.inet_pton(number, address) for address in keep if (":" in address) is (family is Family.IPV6)}

    def is_gone(entry: Entry) -> bool:
        return entry.destination == destination and entry.answering not in kept and entry.state not in _OVER

    with ConnectionTable(number) as table:
        gone = _complete(lambda: [entry for entry in table.to_port(port) if is_gone(entry)])
        return sum(_delete(table, entry) for entry in gone)


def _complete(read: Callable[[], list[Entry]]) -> list[Entry]:
    """What a reading gives that nothing has interrupted. Raises `InterruptedError` when each was."""
    for _ in range(_DUMPS - 1):
        with contextlib.suppress(InterruptedError):
            return read()
    return read()


def _delete(table: ConnectionTable, entry: Entry) -> bool:
    """Whether it was still there. Its identity has its number: another connection may have the same addresses now."""
    try:
        table.delete(entry)
    except FileNotFoundError:
        return False
    return True
