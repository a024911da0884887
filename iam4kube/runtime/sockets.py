"""Listening sockets, bound by ourselves before anything else starts.

A port in use is the commonest mistake at start: it deserves one clear line, not a traceback from inside a
server's task.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator

from iam4kube.runtime.mistakes import SettingsError
from iam4kube.runtime.parsing import ListenAddress

_REMEDIES = {
    errno.EADDRINUSE: "another process listens there; stop it or choose another port",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose one of its own, or none for every address",
    errno.EACCES: "a port below 1024 needs the capability NET_BIND_SERVICE; grant it or choose a higher port",
    errno.EAFNOSUPPORT: "this machine has no IPv6; choose an IPv4 address such as 0.0.0.0",
}


@contextlib.contextmanager
def address_mistakes(address: ListenAddress, *, setting: str) -> Iterator[None]:
    """Turn what the kernel says of a listening address into a `SettingsError` that names the flag and the remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, error.strerror or str(error))
        raise SettingsError([f"{setting} is {str(address)!r}: {remedy}"]) from error


def bind(address: ListenAddress, *, setting: str) -> socket.socket:
    """A bound socket that does not listen yet. `setting` is the flag to name in a mistake.

    "::" and no host at all take IPv4 too: such peers appear as IPv4-mapped addresses. No host at all falls back to
    IPv4 where the kernel has no IPv6. Raises `SettingsError`.
    """
    with address_mistakes(address, setting=setting):
        return _bound(address)


def _bound(address: ListenAddress) -> socket.socket:
    if address.host:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return _bound_to(address.host, address.port, family)
    try:
        return _bound_to("::", address.port, socket.AF_INET6)
    except OSError as error:
        # Without IPv6 in the kernel, and with it disabled for the interface, in this order.
        if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            raise
    return _bound_to("0.0.0.0", address.port, socket.AF_INET)


def _bound_to(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it. An answer is two writes: with Nagle's algorithm it takes 44 ms (measured).
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
