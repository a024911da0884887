"""Notices from the kernel that rules have changed: nftables' and policy routing's, of ours only.

kube-proxy may write 100,000 elements in a transaction, and the kernel tells each. So nothing is decoded: messages are
searched for our tables' names, and those of policy routing for the intercepted addresses. Messages that did not fit
into the socket's buffer count as a change: what was lost may have been ours.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Final, NamedTuple, Self

from iam4kube.kube.objects import Address
from ip2service.kernel.netlink import Netlink
from ip2service.ruleset import ROUTING_TABLE

_ROUTE, _NETFILTER = 0, 12  # linux/netlink.h: protocols
_NFTABLES_GROUP: Final = 1 << (7 - 1)  # NFNLGRP_NFTABLES, linux/netfilter/nfnetlink.h
_RULE_GROUPS: Final = 1 << (8 - 1) | 1 << (19 - 1)  # RTNLGRP_IPV4_RULE and RTNLGRP_IPV6_RULE, linux/rtnetlink.h
_MESSAGE_SIZE: Final = 65536  # the kernel fills up to 3,748 bytes, measured
_RECEIVE_BUFFER_FORCE: Final = 33  # SO_RCVBUFFORCE, asm-generic/socket.h
_BUFFER_SIZE: Final = 4 << 20
"""Holds notices of 23,000 elements, where the usual 208 KiB hold 1,050. Taken only while they wait to be read."""
_READS_AT_ONCE: Final = 100  # half a millisecond; then it is the others' turn on the event loop


class _Listener(NamedTuple):
    """A socket, and what has to be in a message of it for somebody to care."""

    socket: socket.socket
    markers: tuple[bytes, ...]


class Notifications:
    """Calls back on the event loop while it is entered: an asynchronous context manager.

    Changes of our own are told as well. One callback may stand for many messages.
    """

    def __init__(self, netlink: Netlink, *, intercepted: Collection[Address], on_change: Callable[[], None]) -> None:
        self._netlink = netlink
        self._addresses = tuple(_packed(address) for address in intercepted)
        self._on_change = on_change
        self._buffer = bytearray(_MESSAGE_SIZE)
        self._listeners: list[_Listener] = []

    async def __aenter__(self) -> Self:
        """Raises `NetlinkRefused`, `KernelStuck`."""
        await self._netlink.run("notices of changed rules cannot be subscribed to", self._open)
        for listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener.socket, self._read, listener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener.socket)
            listener.socket.close()
        self._listeners.clear()

    def _open(self) -> None:
        """In netlink's thread, for its network namespace."""
        # The guard's name begins with the routing table's.
        tables = (ROUTING_TABLE.encode(),)
        for protocol, groups, markers in (
            (_NETFILTER, _NFTABLES_GROUP, tables),
            (_ROUTE, _RULE_GROUPS, self._addresses),
        ):
            opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
            self._listeners.append(_Listener(opened, markers))
            opened.setblocking(False)
            with contextlib.suppress(PermissionError):  # a user namespace's root: there, just more is lost
                opened.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, _BUFFER_SIZE)
            opened.bind((0, groups))

    def _read(self, listener: _Listener) -> None:
        changed = False
        for _ in range(_READS_AT_ONCE):
            try:
                size = listener.socket.recv_into(self._buffer)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: messages were lost
                changed = True
                break
            changed = changed or any(self._buffer.find(marker, 0, size) >= 0 for marker in listener.markers)
        if changed:
            self._on_change()


def _packed(address: Address) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
