"""What can be wrong with the Service, as a closed list, each with one sentence that says what to do."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from iam4kube.kube.objects import Address, Service, ServicePort
from ip2service.layout import Family, Layout, Mode


class ProblemKind(StrEnum):
    """A word for metrics and decisions."""

    SERVICE_MISSING = "service_missing"
    EXTERNAL_NAME = "external_name"
    HEADLESS = "headless"
    PORT_MISSING = "port_missing"
    PORT_NOT_TCP = "port_not_tcp"
    PORT_DIFFERS = "port_differs"
    NO_CLUSTER_IP = "no_cluster_ip"
    """Of one family."""
    LOCAL_ONLY = "local_only"
    """Packets are routed all the same, but only on nodes with a server."""
    SESSION_AFFINITY = "session_affinity"
    """Packets are routed all the same, but unevenly."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with the Service."""

    kind: ProblemKind
    text: str
    """One sentence for people, with the remedy."""


@dataclass(frozen=True, kw_only=True)
class ServiceReference:
    """The Service that packets are routed to."""

    namespace: str
    name: str
    port_name: str = "router"
    """Of the port that nobody but the router uses."""

    def __str__(self) -> str:
        return f"Service {self.namespace}/{self.name}"


def problem_of(service: Service | None, reference: ServiceReference, layout: Layout, family: Family) -> Problem | None:
    """Why nothing of one family can be routed to the Service; None if it can. Most problems are all families'."""
    if service is None:
        return Problem(ProblemKind.SERVICE_MISSING, f"{reference} does not exist: create it, or correct --service-name")
    if service.type == "ExternalName":
        return Problem(
            ProblemKind.EXTERNAL_NAME,
            f"{reference} is of the type ExternalName, which has no address in the cluster: make it ClusterIP",
        )
    return _port_problem(service, reference, layout) or _address_problem(service, reference, layout, family)


def warnings(service: Service, reference: ServiceReference) -> Iterator[Problem]:
    """What works, but not as it should."""
    if is_local_only(service):
        yield Problem(
            ProblemKind.LOCAL_ONLY,
            f"{reference} has internalTrafficPolicy Local, so pods get credentials only on nodes with a server: "
            "make it Cluster",
        )
    if service.session_affinity != "None":
        yield Problem(
            ProblemKind.SESSION_AFFINITY,
            f"{reference} has sessionAffinity {service.session_affinity}, so a pod stays with a server that is in "
            "trouble: make it None",
        )


def cluster_ip(service: Service, family: Family) -> Address | None:
    """The Service's cluster IP of this family."""
    is_ipv6 = family is Family.IPV6
    return next((address for address in service.cluster_ips if (":" in address) is is_ipv6), None)


def is_local_only(service: Service) -> bool:
    """Whether kube-proxy uses only endpoints on the client's own node."""
    return service.internal_traffic_policy == "Local"


def _port_problem(service: Service, reference: ServiceReference, layout: Layout) -> Problem | None:
    port = next((each for each in service.ports if each.name == reference.port_name), None)
    if port is None:
        return Problem(
            ProblemKind.PORT_MISSING,
            f"{reference} has no port named {reference.port_name!r}, only {_names(service.ports)}: "
            "add it, or correct --router-port-name",
        )
    if port.protocol != "TCP":
        return Problem(
            ProblemKind.PORT_NOT_TCP, f"Port {port.name!r} of {reference} has protocol {port.protocol}: make it TCP"
        )
    if port.port != layout.router_port and layout.mode is Mode.SERVICE:
        return Problem(
            ProblemKind.PORT_DIFFERS,
            f"Port {port.name!r} of {reference} is {port.port}, and --router-port is {layout.router_port}: "
            "make them equal",
        )
    return None


def _address_problem(service: Service, reference: ServiceReference, layout: Layout, family: Family) -> Problem | None:
    if cluster_ip(service, family) is not None:
        return None
    if service.headless:
        if layout.mode is Mode.ENDPOINTS:
            return None
        return Problem(
            ProblemKind.HEADLESS,
            f"{reference} is headless: create it anew without `clusterIP: None`, or route with --mode=endpoints",
        )
    version, address = f"IPv{family.value}", layout.intercepted[family]
    return Problem(
        ProblemKind.NO_CLUSTER_IP,
        f"{reference} has no {version} cluster IP, so {address} is refused to pods: "
        f"add {version} to its ipFamilies if pods need it",
    )


def _names(ports: tuple[ServicePort, ...]) -> str:
    return ", ".join(repr(port.name) for port in ports) or "none at all"
