"""A node, its pods and what is around them in network namespaces: the real kernel's network, without a cluster.

Synchronous and quick (a few milliseconds a namespace), so it may be built from an event loop. Needs root, or a user
namespace's root (`unshare --map-root-user`), and Debian's iproute2; `obstacle` says what is missing.
"""

from iam4kube.sandbox.network.commands import NetworkCommandFailed
from iam4kube.sandbox.network.hosts import Host
from iam4kube.sandbox.network.isolation import isolate
from iam4kube.sandbox.network.namespace import Namespace
from iam4kube.sandbox.network.node_network import METADATA_ADDRESSES, METADATA_IPV4, METADATA_IPV6, NodeNetwork
from iam4kube.sandbox.network.obstacles import obstacle
from iam4kube.sandbox.network.relay import Relay

__all__ = [
    "METADATA_ADDRESSES",
    "METADATA_IPV4",
    "METADATA_IPV6",
    "Host",
    "Namespace",
    "NetworkCommandFailed",
    "NodeNetwork",
    "Relay",
    "isolate",
    "obstacle",
]
