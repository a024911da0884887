"""The laboratory's node with the router's rules, but without the router: what the rules do by themselves.

kube-proxy's place is taken by a table that translates the cluster IP as it does; tests/cluster has the real one.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from iam4kube.kube.objects import Address
from ip2service.layout import STAND_IN, Contents, Endpoint, Family, Layout, Mode, Route
from ip2service.ruleset import Elements, element_changes, guard_table, routing_table, wanted_elements
from tests.support.node_lab import SERVER_PORT, LabHost, LabServer, NodeLab

CLUSTER_IPS = {Family.IPV4: Address("10.96.0.50"), Family.IPV6: Address("fd00:10:96::50")}
_PROXY = """
table inet proxy
delete table inet proxy
table inet proxy {{
	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		{rules}
	}}
}}
"""


def family_of(address: str) -> Family:
    """The family of an address."""
    return Family(ip_address(address).version)


class RuledLab:
    """Owns the rules of one laboratory's node."""

    def __init__(self, lab: NodeLab, mode: Mode) -> None:
        self.lab = lab
        self.layout = Layout(mode=mode)
        self._elements: Elements = wanted_elements(self.layout, Contents())

    async def guard(self) -> None:
        """The guard alone: what the boot rules install."""
        await self.load(guard_table(self.layout, origin="boot"))

    async def protect_by_policy(self) -> None:
        """The second guard, in policy routing."""
        for version, address in ((4, self.layout.intercepted[Family.IPV4]), (6, self.layout.intercepted[Family.IPV6])):
            to = ("to", str(address))
            rule = ("ip", f"-{version}", "rule", "add", "pref")
            await self.lab.node.command(*rule, "6", "iif", "lo", *to, "lookup", "main")
            await self.lab.node.command(*rule, "7", *to, "prohibit")

    async def install(self, servers: Sequence[LabServer], *, exempt: Sequence[LabHost] = ()) -> None:
        """All rules, leading to these servers with the gate open."""
        await self.guard()
        await self.proxy(servers)
        await self.load(routing_table(self.layout))
        await self._set(self.contents(servers, exempt=exempt))

    async def change(self, servers: Sequence[LabServer], *, gate: bool = True) -> None:
        """Other servers, or another state of the gate: elements only."""
        await self._set(self.contents(servers, gate=gate))

    async def proxy(
        self, servers: Sequence[LabServer], *, cluster_ips: Iterable[str] = tuple(CLUSTER_IPS.values())
    ) -> None:
        """Translate the cluster IPs to the first of these servers, or of none: what kube-proxy knows."""
        port = self.layout.router_port
        families = {cluster_ip: family_of(cluster_ip) for cluster_ip in cluster_ips}
        rules = [
            f"{family.header} daddr {cluster_ip} tcp dport {port} dnat {family.header} to {_target(server, family)}"
            for server in servers[:1]
            for cluster_ip, family in families.items()
        ]
        if self.layout.mode is Mode.SERVICE:
            await self.load(_PROXY.format(rules="\n\t\t".join(rules)))

    def contents(self, servers: Sequence[LabServer], *, gate: bool = True, exempt: Sequence[LabHost] = ()) -> Contents:
        """What the router would want for these servers."""
        endpoints = self.layout.mode is Mode.ENDPOINTS
        return Contents(
            routes={
                family: Route(
                    frontend=STAND_IN[family] if endpoints else CLUSTER_IPS[family],
                    gate=gate,
                    endpoints=tuple(_endpoint(each, family) for each in servers) if endpoints else (),
                    exempt=frozenset(Address(_address(each, family)) for each in exempt),
                )
                for family in Family
            }
        )

    async def load(self, text: str) -> None:
        """Run one transaction in the node."""
        await self.lab.node.command("nft", "-f", "-", text=text)

    async def _set(self, contents: Contents) -> None:
        wanted = wanted_elements(self.layout, contents)
        await self.load(element_changes(self._elements, wanted))
        self._elements = wanted


def _address(host: LabHost, family: Family) -> str:
    return host.ipv4 if family is Family.IPV4 else host.ipv6


def _endpoint(server: LabServer, family: Family) -> Endpoint:
    return Endpoint(Address(_address(server, family)), SERVER_PORT)


def _target(server: LabServer, family: Family) -> str:
    address = _address(server, family)
    return f"[{address}]:{SERVER_PORT}" if family is Family.IPV6 else f"{address}:{SERVER_PORT}"
