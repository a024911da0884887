"""A worker node, its pods, and what is upstream of it: other servers, and the real metadata service's addresses.

    pod a    pod b    pod c
      |        |        |          one address per family each, wired as the AWS VPC CNI does
    +-+--------+--------+-+
    |        node         |        forwards; strict reverse path filter
    +----------+----------+
               |
    +----------+----------+
    |      upstream       |        the VPC: routes by address, drops silently what it does not know,
    +--+---------------+--+        and owns 169.254.169.254 and fd00:ec2::254
       |               |
    server 1        server 2       other nodes' pods, as far as this node can tell

Nothing is done in the namespace that this process runs in: links are made inside those above.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address
from types import TracebackType
from typing import Self

from iam4kube.sandbox.network.commands import configure
from iam4kube.sandbox.network.hosts import Address, Host, connect, disconnect
from iam4kube.sandbox.network.namespace import Namespace

METADATA_IPV4 = "169.254.169.254"
METADATA_IPV6 = "fd00:ec2::254"
METADATA_ADDRESSES = (METADATA_IPV4, METADATA_IPV6)

_UPSTREAM_ADDRESSES = ("10.0.0.1", "fd00:10::1")  # what its own ICMP errors come from
_STRICT = 1  # rp_filter


class NodeNetwork:
    """The network above, with one node at first. Use it with `with`."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}
        self._node_of: dict[str, Host] = {}
        self._count = 0
        self.upstream = Namespace()
        try:
            self._prepare_upstream()
            self.node = self.add_node("node")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add_node(self, name: str) -> Host:
        """A node of its own addresses, 10.0.0.x and fd00:10::x."""
        node = self._add(name, router=self.upstream, addresses=self._addresses(0))
        _forward(node.namespace, reverse_path_filter=_STRICT)
        return node

    def add_pod(self, name: str, *, addresses: tuple[str, ...] | None = None, node: Host | None = None) -> Host:
        """A pod on the node, or on another, with these addresses or 10.1.0.x and fd00:10:1::x.

        An address may be any that no host has now, so that of a pod that has been removed.
        """
        node = node or self.node
        pod = self._add(name, router=node.namespace, addresses=_parse(addresses) or self._addresses(1))
        self._node_of[name] = node
        configure(self.upstream, *(f"route add {route}" for route in _routes(pod, node)))
        return pod

    def add_server(self, name: str, *, addresses: tuple[str, ...] | None = None) -> Host:
        """A host beyond the node, with these addresses or 10.2.0.x and fd00:10:2::x."""
        return self._add(name, router=self.upstream, addresses=_parse(addresses) or self._addresses(2))

    def remove(self, host: Host) -> None:
        """Kill its processes and take its links away, at once. Connections to it are not closed, as with a real one."""
        del self._hosts[host.name]
        node = self._node_of.pop(host.name, None)
        if node is not None:
            configure(self.upstream, *(f"route delete {route}" for route in _routes(host, node)))
        disconnect(host)
        host.namespace.close()

    def close(self) -> None:
        """Kill all processes and let go of all namespaces."""
        for host in self._hosts.values():
            host.namespace.close()
        self._hosts.clear()
        self.upstream.close()

    def _add(self, name: str, *, router: Namespace, addresses: tuple[Address, ...]) -> Host:
        if name in self._hosts:
            raise ValueError(f"there is a host {name!r} already")
        host = Host(name=name, namespace=Namespace(), router=router, addresses=addresses)
        try:
            # Before the links are there: each takes these when it is made. Without, an address is unusable for 1 s.
            host.namespace.set_parameter("ipv6.conf.default.accept_dad", 0)
            connect(host)
        except BaseException:
            host.namespace.close()
            raise
        self._hosts[name] = host
        return host

    def _prepare_upstream(self) -> None:
        self.upstream.set_parameter("ipv6.conf.default.accept_dad", 0)
        _forward(self.upstream, reverse_path_filter=0)
        configure(
            self.upstream,
            "link set lo up",
            *(f"address add {address} dev lo nodad" for address in (*_UPSTREAM_ADDRESSES, *METADATA_ADDRESSES)),
            "route add blackhole 0.0.0.0/0",
            "route add blackhole ::/0",
        )

    def _addresses(self, subnet: int) -> tuple[Address, ...]:
        self._count += 1
        number = self._count + 9
        prefix = "fd00:10::" if subnet == 0 else f"fd00:10:{subnet}::"
        return IPv4Address(f"10.{subnet}.0.{number}"), IPv6Address(f"{prefix}{number}")


def _forward(namespace: Namespace, *, reverse_path_filter: int) -> None:
    namespace.set_parameter("ipv4.ip_forward", 1)
    namespace.set_parameter("ipv6.conf.all.forwarding", 1)
    for links in "all", "default":
        namespace.set_parameter(f"ipv4.conf.{links}.rp_filter", reverse_path_filter)


def _parse(addresses: tuple[str, ...] | None) -> tuple[Address, ...]:
    return tuple(ip_address(address) for address in addresses or ())


def _routes(pod: Host, node: Host) -> list[str]:
    """How upstream reaches a pod: by its node's address of the same family."""
    gateways = {4: node.ipv4, 6: node.ipv6}
    return [f"{address} via {gateways[address.version]} dev {node.link} onlink" for address in pod.addresses]
