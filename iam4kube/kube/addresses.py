"""IP addresses in one canonical text each, because they are the keys by which pods and nodes are found.

`::ffff:10.0.0.1` is what a dual-stack socket calls the peer 10.0.0.1, and IPv6 has many spellings of one
address: two spellings must never be two identities.
"""

import ipaddress
import socket
from functools import lru_cache

from iam4kube.kube.objects import Address

_CACHED = 4096  # busy peers of one replica; a list of 150,000 pods passes through without filling memory


def canonical_address(text: str) -> Address:
    """Return the canonical text of an IPv4 or IPv6 address; an IPv4-mapped IPv6 address becomes IPv4.

    Raises `ValueError` for anything else: host names, ports, prefixes, zones (`fe80::1%eth0`).
    """
    if ":" in text:
        return _canonical_ipv6(text)
    try:
        socket.inet_pton(socket.AF_INET, text)  # 0.2 µs where `ipaddress` takes 1.7; accepts one spelling only
    except OSError:
        raise ValueError(f"not an IP address: {text!r}") from None
    return Address(text)


@lru_cache(maxsize=_CACHED)
def _canonical_ipv6(text: str) -> Address:
    address = ipaddress.IPv6Address(text)
    if address.scope_id is not None:
        raise ValueError(f"an IP address with a zone: {text!r}")
    return Address(str(address.ipv4_mapped or address))
