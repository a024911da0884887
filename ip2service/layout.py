"""What the router's rules are made of: a layout, which stays for a process' life, and contents, which change.

The layout decides tables, chains and rules. They are written once and never flushed: designs that switched
rules leaked connections to the real metadata service although each transaction was atomic (57 to 59 of 390,000
measured; none of 1,460,000 where only elements change). The contents are the elements of maps and sets.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from iam4kube.kube.objects import Address


class Family(Enum):
    """An IP version."""

    IPV4 = 4
    IPV6 = 6

    @property
    def header(self) -> str:
        """As nftables calls its header: `ip`, `ip6`."""
        return "ip" if self is Family.IPV4 else "ip6"

    @property
    def address_type(self) -> str:
        """As nftables calls its addresses' type."""
        return f"ipv{self.value}_addr"


class Mode(Enum):
    """Who chooses the replica that answers."""

    SERVICE = "service"
    """kube-proxy does: packets are rewritten to the Service's cluster IP."""
    ENDPOINTS = "endpoints"
    """The router does: connections are translated to the addresses of the EndpointSlices."""


class Endpoint(NamedTuple):
    """Where a server listens."""

    address: Address
    port: int


STAND_IN: Final = {Family.IPV4: Address("192.0.0.8"), Family.IPV6: Address("100::8")}
"""What takes the cluster IP's place in endpoints mode: between the rewrite and the translation, packets are
addressed to it. Nobody can have it: the IPv4 dummy address (RFC 7600) and the discard prefix (RFC 6666)."""

SLOTS: Final = 240
"""Places in the map of endpoints, each endpoint in every Nth. With a fixed number no rule changes when endpoints do.
240 is shared evenly by 2, 3, 4, 5, 6, 8 and 10 endpoints; 7 differ by 3 %."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What settings decide."""

    mode: Mode = Mode.SERVICE
    intercepted: dict[Family, Address] = field(
        default_factory=lambda: {
            Family.IPV4: Address("169.254.169.254"),
            Family.IPV6: Address("fd00:ec2::254"),
        }
    )
    """The metadata service's address by family. A family without one is neither routed nor guarded."""
    intercepted_port: int = 80
    router_port: int = 8169
    """The Service's port that nobody but the router uses: replies from it are rewritten."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where one family's connections go at this moment."""

    frontend: Address | None = None
    """The cluster IP, or the stand-in in endpoints mode. None: nowhere, established connections are cut too."""
    gate: bool = False
    """Whether new connections are let in."""
    endpoints: tuple[Endpoint, ...] = ()
    """In endpoints mode: what the stand-in is translated to. Order matters only in that it should not change."""
    exempt: frozenset[Address] | None = frozenset()
    """Server pods of this node: they reach the real metadata service. None: nobody knows who should be; those who are
    stay so until their time is over."""


NOWHERE: Final = Route()


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the maps and sets hold."""

    routes: dict[Family, Route] = field(default_factory=dict)

    def route(self, family: Family) -> Route:
        """The family's route; nowhere if there is none."""
        return self.routes.get(family, NOWHERE)
