"""`python -m bench.router_notices`: what the kernel tells of the router's IPv4 maps, with its time, until SIGTERM.

The kernel tells of a transaction's elements right after it has put them in force. Whoever listens needs no help of the
router's and does not ask the kernel, which would make it wait. Prints `ready`, and then a line for each news: the time
(`perf_counter`, one clock for all processes), and `open`, `closed`, or the number of an endpoint that is in the map.
"""

import re
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from time import perf_counter

from tests.support.node_lab import SERVER_PORT

NUMBERED = "10.250"
"""Addresses of endpoints that have a number, their last two bytes."""

_NETFILTER = 12  # linux/netlink.h
_NFTABLES_GROUP = 1 << (7 - 1)  # NFNLGRP_NFTABLES, linux/netfilter/nfnetlink.h
_NEW_ELEMENT, _DELETED_ELEMENT = (10 << 8 | 12), (10 << 8 | 14)  # of NFNL_SUBSYS_NFTABLES, linux/netfilter/nf_tables.h
_HEADER = struct.Struct("=LHHLL")  # nlmsghdr
_RECEIVE_BUFFER_FORCE, _BUFFER_SIZE = 33, 16 << 20
_ENDPOINT = re.compile(
    re.escape(bytes(map(int, NUMBERED.split(".")))) + b"(..)" + re.escape(SERVER_PORT.to_bytes(2, "big")), re.DOTALL
)


def address_of(number: int) -> str:
    """The address of the endpoint with this number, 0 to 65,535."""
    return f"{NUMBERED}.{number >> 8}.{number & 255}"


def news(datagram: bytes) -> Iterator[str]:
    """What a datagram says of the router's IPv4 maps."""
    while len(datagram) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(datagram)
        message, datagram = datagram[:length], datagram[length + 3 & ~3 :]
        if b"opening4\0" in message and kind in (_NEW_ELEMENT, _DELETED_ELEMENT):
            yield "open" if kind == _NEW_ELEMENT else "closed"
        elif b"endpoints4\0" in message and kind == _NEW_ELEMENT and (found := _ENDPOINT.search(message)):
            yield str(int.from_bytes(found[1], "big"))


def main() -> None:
    """Listen."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as listening:
        listening.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, _BUFFER_SIZE)
        listening.bind((0, _NFTABLES_GROUP))
        print("ready", flush=True)
        last = ""
        while True:
            with suppress(OSError):  # ENOBUFS: too much of somebody else's table at once
                datagram = listening.recv(65536)
                now = perf_counter()
                for word in news(datagram):
                    if word != last:
                        last = word
                        sys.stdout.write(f"{now!r} {word}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
