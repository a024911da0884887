"""Connection tracking: forgets connections to servers that are gone.

A node may track hundreds of thousands of connections. The kernel picks those to the router's port (since 5.8; an
older one sends all of them), and each is looked at again here: to delete another program's would break its connection.
"""

import errno
import socket
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from iam4kube.kube.addresses import canonical_address
from iam4kube.kube.objects import Address
from ip2service.kernel.netlink import Netlink
from ip2service.kernel.policy_rules import FAMILY_NUMBERS
from ip2service.layout import Family


class ConnectionTracking:
    """The kernel's table of connections."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink

    async def forget(self, *, frontends: Mapping[Family, Address], port: int, keep: Collection[Address]) -> int:
        """Delete the TCP entries opened to a frontend's port, unless an address in `keep` answers them.

        Returns how many. Raises `NetlinkRefused`, `KernelStuck`.
        """
        return await self._netlink.run(
            "connections cannot be forgotten",
            lambda: sum(_forget(family, frontend, port, keep) for family, frontend in frontends.items()),
        )


def _forget(family: Family, frontend: Address, port: int, keep: Collection[Address]) -> int:
    with NFCTSocket(nfgen_family=FAMILY_NUMBERS[family]) as table:
        gone = [each for each in _entries(table, family, frontend, port) if _answering(each, family) not in keep]
        return sum(_delete(table, each, family) for each in gone)


def _entries(table: NFCTSocket, family: Family, frontend: Address, port: int) -> Iterator[Any]:
    number = FAMILY_NUMBERS[family]
    # Not by address: the kernel (6.18 still) has the comparison of IPv6 addresses the wrong way round.
    to_port = NFCTAttrTuple(family=number, proto=socket.IPPROTO_TCP, dport=port)
    to_frontend = NFCTAttrTuple(family=number, daddr=str(frontend), proto=socket.IPPROTO_TCP, dport=port)
    for entry in list(table.dump(tuple_orig=to_port)):
        if entry["nfgen_family"] == number and to_frontend.nla_eq(number, entry.get_attr("CTA_TUPLE_ORIG")):
            yield entry


def _answering(entry: Any, family: Family) -> Address:
    """Where replies come from."""
    addresses = entry.get_attr("CTA_TUPLE_REPLY").get_attr("CTA_TUPLE_IP")
    return canonical_address(addresses.get_attr(f"CTA_IP_V{family.value}_SRC"))


def _delete(table: NFCTSocket, entry: Any, family: Family) -> bool:
    """Whether it was still there. With its number: by now another connection may have the same addresses."""
    opened = NFCTAttrTuple.from_netlink(FAMILY_NUMBERS[family], entry.get_attr("CTA_TUPLE_ORIG"))
    zone = entry.get_attr("CTA_ZONE")
    try:
        table.entry("del", tuple_orig=opened, id=entry.get_attr("CTA_ID"), zone=zone)
    except NetlinkError as error:
        if error.code != errno.ENOENT:
            raise
        return False
    return True
