"""The node's links, by name: some name the network plugin that made them."""

import socket

from ip2service.kernel.netlink import Netlink


async def link_names(netlink: Netlink) -> frozenset[str]:
    """All of them. Raises `NetlinkRefused`, `KernelStuck`."""
    return await netlink.run("links cannot be listed", lambda: frozenset(name for _, name in socket.if_nameindex()))
