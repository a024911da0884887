"""Who is at the other end: the address of the connection's peer, and nothing that a client could write."""

from iam4kube.kube.addresses import canonical_address
from iam4kube.kube.objects import Address
from iam4kube.runtime.asgi import Scope


def peer_address(scope: Scope) -> Address | None:
    """The peer's canonical address; None when it has gone already, or has an address that no pod can have."""
    client = scope["client"]
    if client is None:
        return None
    try:
        return canonical_address(client[0])
    except ValueError:  # a link-local address, which comes with its interface
        return None
