"""The kernel's table of connections, as netlink's messages.

Not with pyroute2, which takes 0.1 ms for an entry: a pod that connects as often as it can makes 100,000 of them, and
ten seconds in which Python does little else. Here it is 8 µs. Numbers are those of linux/netlink.h, linux/netfilter/
nfnetlink.h and nfnetlink_conntrack.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Final, NamedTuple, Self

_NETFILTER: Final = 12  # NETLINK_NETFILTER
_GET, _DELETE = 0x101, 0x102  # IPCTNL_MSG_CT_GET and _DELETE of NFNL_SUBSYS_CTNETLINK
_REQUEST, _ACKNOWLEDGE, _DUMP = 0x1, 0x4, 0x300
_INTERRUPTED: Final = 0x10  # NLM_F_DUMP_INTR
_ERROR, _DONE = 2, 3
_HEADER: Final = struct.Struct("=LHHLL")  # nlmsghdr
_FAMILY: Final = struct.Struct("=BBH")  # nfgenmsg
_START: Final = _HEADER.size + _FAMILY.size
_ATTRIBUTE: Final = struct.Struct("=HH")  # nlattr
_NESTED: Final = 0x8000
_KIND: Final = 0x3FFF
_TUPLE_ORIGINAL, _TUPLE_REPLY, _PROTOCOL_INFO, _ID, _ZONE, _FILTER = 1, 2, 4, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_NUMBER, _DESTINATION_PORT = 1, 3
_IP_VERSIONS: Final = {socket.AF_INET: (1, 2), socket.AF_INET6: (3, 4)}  # source and destination
_BY_NUMBER_AND_DESTINATION_PORT: Final = 1 << 3 | 1 << 5
_RECEIVE: Final = 65536  # the kernel fills up to 32 KiB
_SECONDS: Final = 10.0  # for one message


class Entry(NamedTuple):
    """A TCP connection that the kernel tracks. Addresses are packed."""

    destination: bytes
    port: int
    answering: bytes
    """Where replies come from."""
    state: int
    """TCP_CONNTRACK_*, linux/netfilter/nf_conntrack_tcp.h."""
    identity: bytes
    """The attributes by which the kernel knows this entry, and no other."""


class ConnectionTable:
    """The table of one family. Use it with `with`, in a thread: calls block. All of them raise `OSError`."""

    def __init__(self, family: int) -> None:
        self._family = family
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        self._socket.settimeout(_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def to_port(self, port: int) -> Iterator[Entry]:
        """TCP connections that were opened to this port, of any address. Not to be mixed with other calls.

        The kernel picks them, since 5.8; an older one sends all. It could not pick by address: as of 6.18 it compares
        those of IPv6 the wrong way round. Raises `InterruptedError` at the end if the table changed in a way that may
        have hidden some from the kernel itself.
        """
        protocol = _attribute(_NUMBER, bytes([socket.IPPROTO_TCP])) + _attribute(
            _DESTINATION_PORT, struct.pack("!H", port)
        )
        wanted = _attribute(_TUPLE_ORIGINAL | _NESTED, _attribute(_TUPLE_PROTOCOL | _NESTED, protocol))
        flags = _attribute(1, struct.pack("=L", _BY_NUMBER_AND_DESTINATION_PORT))  # CTA_FILTER_ORIG_FLAGS
        self._send(_GET, _DUMP, wanted + _attribute(_FILTER | _NESTED, flags))
        for message in self._answers():
            entry = self._entry(message)
            if entry is not None and entry.port == port:
                yield entry

    def delete(self, entry: Entry) -> None:
        """Delete it. Raises `FileNotFoundError` where it is no longer there."""
        self._send(_DELETE, _ACKNOWLEDGE, entry.identity)
        for _ in self._answers():
            pass

    def _send(self, kind: int, flags: int, attributes: bytes) -> None:
        size = _START + len(attributes)
        header = _HEADER.pack(size, kind, _REQUEST | flags, 0, 0) + _FAMILY.pack(self._family, 0, 0)
        self._socket.send(header + attributes)

    def _answers(self) -> Iterator[bytes]:
        """Messages up to the last, which says whether all went well."""
        interrupted = 0
        while True:
            received, offset = self._socket.recv(_RECEIVE), 0
            while offset < len(received):
                size, kind, flags, *_ = _HEADER.unpack_from(received, offset)
                interrupted |= flags & _INTERRUPTED
                if kind in (_ERROR, _DONE):
                    (number,) = struct.unpack_from("=l", received, offset + _HEADER.size)
                    number = number or (-errno.EINTR if interrupted else 0)
                    if number:
                        raise OSError(-number, os.strerror(-number))
                    return
                yield received[offset : offset + size]
                offset += (size + 3) & ~3

    def _entry(self, message: bytes) -> Entry | None:
        """None for another protocol or family."""
        family, _, _ = _FAMILY.unpack_from(message, _HEADER.size)
        fields = _attributes(message[_START:])
        opened, answered = _attributes(fields[_TUPLE_ORIGINAL]), _attributes(fields[_TUPLE_REPLY])
        protocol = _attributes(opened[_TUPLE_PROTOCOL])
        if family != self._family or protocol[_NUMBER] != bytes([socket.IPPROTO_TCP]):
            return None
        source, destination = _IP_VERSIONS[family]
        identity = _attribute(_TUPLE_ORIGINAL | _NESTED, fields[_TUPLE_ORIGINAL])
        identity += b"".join(_attribute(kind, fields[kind]) for kind in (_ID, _ZONE) if kind in fields)
        return Entry(
            destination=_attributes(opened[_TUPLE_IP])[destination],
            port=int.from_bytes(protocol[_DESTINATION_PORT], "big"),
            answering=_attributes(answered[_TUPLE_IP])[source],
            state=_tcp_state(fields),
            identity=identity,
        )


def _tcp_state(fields: dict[int, bytes]) -> int:
    tcp = _attributes(_attributes(fields.get(_PROTOCOL_INFO, b"")).get(1, b""))  # CTA_PROTOINFO_TCP
    return tcp.get(1, b"\0")[0]  # CTA_PROTOINFO_TCP_STATE


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    """Values by kind."""
    found, offset = {}, 0
    while offset + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        found[kind & _KIND] = data[offset + _ATTRIBUTE.size : offset + size]
        offset += max(size + 3, _ATTRIBUTE.size) & ~3
    return found
