"""Every setting of the router: each is a flag and an environment variable, checked at start.

Commands that need no cluster take only the part that they need, by the same names: what a DaemonSet's container
has in its environment holds for `ip2service check` inside of it, too.
"""

import ipaddress
from dataclasses import dataclass, replace
from typing import Final

from iam4kube.kube.addresses import canonical_address
from iam4kube.kube.objects import Address
from iam4kube.kube.settings import ClusterSettings
from iam4kube.runtime.log_settings import LogSettings
from iam4kube.runtime.parsing import (
    ListenAddress,
    boolean,
    bounded,
    choice,
    comma_separated,
    duration,
    listen_address,
    port,
    positive_integer,
    text,
)
from iam4kube.runtime.settings import section, setting
from ip2service.layout import Family, Layout, Mode

PREFIX: Final = "IP2SERVICE_"
_MODES = tuple(mode.value for mode in Mode)


def intercepted(value: str) -> tuple[Address, ...]:
    """Addresses to intercept. Raises `ValueError` with what is expected."""
    addresses = comma_separated(_address)(value)
    if not addresses:
        raise ValueError("expected an IPv4 address, an IPv6 address, or one of each, separated by a comma")
    if len({_family(address) for address in addresses}) < len(addresses):
        raise ValueError("expected at most one IPv4 and one IPv6 address")
    return addresses


def _family(address: Address) -> Family:
    return Family(ipaddress.ip_address(address).version)


def _address(value: str) -> Address:
    try:
        address = canonical_address(value)
    except ValueError:
        raise ValueError("expected IP addresses such as 169.254.169.254,fd00:ec2::254") from None
    parsed = ipaddress.ip_address(address)
    # Those never leave the node, or go to many.
    if parsed.is_unspecified or parsed.is_loopback or parsed.is_multicast:
        raise ValueError("expected addresses of a single other machine")
    return address


def startup_taint(value: str) -> str:
    """The key of a taint. Raises `ValueError` with what is expected."""
    if not value.strip() or any(character in value for character in " =:"):
        raise ValueError("expected the key of a taint alone, without value and effect")
    return value


@dataclass(frozen=True, kw_only=True)
class InterceptionSettings:
    """What is intercepted: all that the guards depend on."""

    intercept_address: tuple[Address, ...] = setting(
        "169.254.169.254,fd00:ec2::254",
        parse=intercepted,
        metavar="ADDRESS,ADDRESS",
        help="The metadata service's addresses, at most one IPv4 and one IPv6 address. "
        "A family that is left out is neither routed nor guarded.",
    )
    intercept_port: int = setting(
        "80", parse=port, metavar="PORT", help="The port that is routed. All others are refused to pods."
    )
    rule_priority: int = setting(
        "5",
        # Rules of priority 0 are the kernel's own `local` table, and those from 32766 on `main` and `default`.
        parse=bounded(positive_integer, minimum="1", maximum="32763"),
        metavar="NUMBER",
        help="Priority of the first of three consecutive policy rules. "
        "They have to come before a network plugin's: Cilium's start at 9, the VPC CNI's at 10.",
    )

    @property
    def layout(self) -> Layout:
        """What decides the guard."""
        addresses = {_family(address): address for address in self.intercept_address}
        # IPv4 first, in whatever order they were given: a table is compared with its text.
        intercepted = {family: addresses[family] for family in Family if family in addresses}
        return Layout(intercepted=intercepted, intercepted_port=self.intercept_port)


@dataclass(frozen=True, kw_only=True)
class RoutingSettings(InterceptionSettings):
    """How it is routed: all that the rules depend on."""

    mode: str = setting(
        "service",
        parse=choice(*_MODES),
        metavar="|".join(_MODES),
        help="service: packets go to the Service's cluster IP, and kube-proxy chooses a server. "
        "endpoints: the router chooses one itself, in its own zone first; for clusters without kube-proxy.",
    )
    router_port: int = setting(
        "8169",
        parse=port,
        metavar="PORT",
        help="The port of the Service that packets are routed to. Nothing else may use it.",
    )

    @property
    def layout(self) -> Layout:
        """What decides tables, chains and rules."""
        return replace(super().layout, mode=Mode(self.mode), router_port=self.router_port)


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """The Service of the credential server."""

    service_namespace: str = setting(
        "iam4kube", parse=text, metavar="NAMESPACE", help="Namespace of the credential server's Service."
    )
    service_name: str = setting("iam4kube", parse=text, metavar="NAME", help="Its name.")
    # "service_port_name" would be IP2SERVICE_SERVICE_PORT_NAME, which Kubernetes sets for a Service called ip2service.
    router_port_name: str = setting(
        "router", parse=text, metavar="NAME", help="Name of its port for the router, whose number is --router-port."
    )


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """What concerns the node that the router runs on."""

    node_name: str = setting(
        parse=text, metavar="NAME", help="This node's name, from the downward API (spec.nodeName)."
    )
    exempt_servers: bool = setting(
        "false",
        parse=boolean,
        help="Let server pods of this node reach the real metadata service, for their own credentials.",
    )
    remove_startup_taint: str | None = setting(
        None,
        parse=startup_taint,
        metavar="KEY",
        help="Remove the taint with this key from the node once the router is ready. "
        "Needs the permission to patch nodes.",
    )


@dataclass(frozen=True, kw_only=True)
class BypassSettings:
    """What to think of network plugins that lead packets past the rules."""

    accept_bypass: bool = setting(
        "false",
        parse=boolean,
        help="Be content although the network plugin seems to lead pods' traffic past these rules. "
        "Pods may reach the real metadata service then.",
    )


@dataclass(frozen=True, kw_only=True)
class OperationSettings:
    """What operators see and decide."""

    # The router is in the node's own network, where 9090 to 9100 are taken: by the credential server's ports on the
    # same node (9090, 9091), Calico's Felix (9091, 9099), Prometheus' node_exporter (9100).
    admin_listen: ListenAddress = setting(
        ":9169",
        parse=listen_address,
        metavar="ADDRESS",
        help="Where /livez, /readyz and /metrics are, in the node's network.",
    )
    verify_interval: float = setting(
        "30s",
        parse=bounded(duration, minimum="1s", maximum="5m"),
        metavar="DURATION",
        help="How often the kernel's rules are compared with what they should be, apart from changes that it tells of.",
    )


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """All settings of `ip2service check`."""

    routing: RoutingSettings = section(RoutingSettings, group="Routing")
    bypass: BypassSettings = section(BypassSettings, group="Node")


@dataclass(frozen=True, kw_only=True)
class RouterSettings:
    """All settings of `ip2service run`."""

    service: ServiceSettings = section(ServiceSettings, group="Service")
    routing: RoutingSettings = section(RoutingSettings, group="Routing")
    node: NodeSettings = section(NodeSettings, group="Node")
    bypass: BypassSettings = section(BypassSettings, group="Node")
    kubernetes: ClusterSettings = section(ClusterSettings, group="Kubernetes")
    operation: OperationSettings = section(OperationSettings, group="Operation")
    logs: LogSettings = section(LogSettings, group="Logs")
