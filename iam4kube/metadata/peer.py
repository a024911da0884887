"""Who is at the other end: the address of the connection's peer, and nothing that a client could write."""

from iam4kube.kube.addresses import canonical_address
from iam4kube.kube.objects import Address


def peer_address(client: tuple[str, int] | None) -> Address | None:
    """The canonical address of a connection's peer; None when it has gone, or has an address that no pod can have."""
    if client is None:
        return None
    try:
        return canonical_address(client[0])
    except ValueError:  # a link-local address, which comes with its interface
        return None
