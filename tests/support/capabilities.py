"""A thread without the capability that the router needs."""

import ctypes
import struct

_NET_ADMIN = 12
_VERSION_3 = 0x20080522  # linux/capability.h
_libc = ctypes.CDLL(None, use_errno=True)


def drop_net_admin() -> None:
    """Take NET_ADMIN from the calling thread, for as long as it lives: capabilities belong to threads."""
    header = struct.pack("Ii", _VERSION_3, 0)
    sets = ctypes.create_string_buffer(24)
    assert _libc.capget(header, sets) == 0
    low = list(struct.unpack("6I", sets.raw))
    low[:3] = [word & ~(1 << _NET_ADMIN) for word in low[:3]]
    assert _libc.capset(header, struct.pack("6I", *low)) == 0
