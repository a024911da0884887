"""Hosts, and how one is wired to its router: with addresses of its own that share no subnet with anybody.

As the AWS VPC CNI does it for pods: a pair of links, a route to each address on the router's side, and on the host's
side a gateway that nobody has as its address, 169.254.1.1, with a static neighbour entry. fe80::1 stands for it in
IPv6. The router's address is then free to be anything, and addresses move between hosts like routes.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from iam4kube.sandbox.network.commands import configure
from iam4kube.sandbox.network.namespace import Namespace

Address = IPv4Address | IPv6Address

_ROUTER_MAC = "ee:ee:ee:ee:ee:ee"  # the same on every link: each is a segment of its own
_LINK_NAME_LIMIT = 15  # IFNAMSIZ without the final zero


@dataclass(frozen=True, kw_only=True, eq=False)
class Host:
    """A network namespace with addresses, wired to a router: a node, a pod, a server."""

    name: str
    namespace: Namespace
    router: Namespace
    addresses: tuple[Address, ...]

    @property
    def ipv4(self) -> str:
        """Its IPv4 address. Raises `LookupError` where it has none."""
        return self._address(4)

    @property
    def ipv6(self) -> str:
        """Its IPv6 address. Raises `LookupError` where it has none."""
        return self._address(6)

    @property
    def link(self) -> str:
        """The router's link to it."""
        return f"to-{self.name}"

    def _address(self, version: int) -> str:
        for address in self.addresses:
            if address.version == version:
                return str(address)
        raise LookupError(f"{self.name} has no IPv{version} address")


def connect(host: Host) -> None:
    """Wire a host to its router. Raises `ValueError` for a name that is too long for a link's."""
    if len(host.link) > _LINK_NAME_LIMIT:
        raise ValueError(f"{host.name!r} is too long: a link's name has at most {_LINK_NAME_LIMIT} characters")
    configure(
        host.router,
        f"link add {host.link} address {_ROUTER_MAC} type veth peer name eth0 netns {host.namespace.path}",
        f"link set {host.link} up",
        f"address add fe80::1/64 dev {host.link} nodad",
        *(f"route add {address} dev {host.link}" for address in host.addresses),
    )
    configure(
        host.namespace,
        "link set lo up",
        "link set eth0 up",
        *(f"address add {address} dev eth0 nodad" for address in host.addresses),
        "route add 169.254.1.1 dev eth0 scope link",
        f"neighbour add 169.254.1.1 lladdr {_ROUTER_MAC} dev eth0 nud permanent",
        "route add 0.0.0.0/0 via 169.254.1.1 dev eth0",
        "route add ::/0 via fe80::1 dev eth0",
    )


def disconnect(host: Host) -> None:
    """Remove both links, and with them the router's routes."""
    configure(host.router, f"link delete {host.link}")
