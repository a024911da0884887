"""A laboratory: a node in network namespaces with pods, servers that answer, and a stand-in for the real service.

async with NodeLab(pods=("a", "b"), servers=("one",)) as lab:
    pod, one = lab.pod("a"), lab.server("one")
    outcome = await pod.connect(METADATA_IPV4, 80)  # also pod.ask_udp, pod.ping, and lab.node.connect
    assert (outcome.result, outcome.by, outcome.source) == (Result.ANSWERED, REAL, pod.ipv4)
    assert lab.stand_in.connections[pod.ipv4] == 1  # what it accepted; `await lab.arrivals()` counts all packets
    kept = await pod.keep(one.ipv4, SERVER_PORT)  # `await kept.ask()` again and again
    lab.node.namespace.popen(["nft", "-f", "rules.nft"])  # `run(function)` in a thread inside, `command` for asyncio
    lab.remove(pod)
    heir = lab.add_pod("heir", addresses=(pod.ipv4, pod.ipv6))
    async with lab.relay(control_plane.port):  # programs in the node reach https://127.0.0.1:port
        ...
"""

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self

from iam4kube.sandbox.network import (
    METADATA_ADDRESSES,
    METADATA_IPV4,
    METADATA_IPV6,
    Host,
    Namespace,
    NodeNetwork,
    Relay,
)
from tests.support.node_lab_probes import Connection, Outcome, ask_udp, open_connection, ping
from tests.support.node_lab_services import Service

REAL = "real"
"""How the stand-in for the real metadata service answers."""
SERVER_PORT = 8181
"""Where servers answer."""
STAND_IN_PORTS = (80, 8080)
"""Where the stand-in answers: the metadata service's port, and one that nobody should reach either."""

_COMMAND_SECONDS = 10.0
_PATIENCE = 2.0  # seconds for an answer; it takes less than one millisecond
_ARRIVALS = f"""
table inet arrivals {{
	set from4 {{ type ipv4_addr; size 65535; flags dynamic; counter; }}
	set from6 {{ type ipv6_addr; size 65535; flags dynamic; counter; }}
	chain arriving {{
		type filter hook prerouting priority raw;
		ip daddr {METADATA_IPV4} update @from4 {{ ip saddr }}
		ip6 daddr {METADATA_IPV6} update @from6 {{ ip6 saddr }}
	}}
}}
"""


class LabHost:
    """A node, a pod or a server, and what it can ask."""

    def __init__(self, host: Host) -> None:
        self.host = host

    @property
    def namespace(self) -> Namespace:
        return self.host.namespace

    @property
    def ipv4(self) -> str:
        return self.host.ipv4

    @property
    def ipv6(self) -> str:
        return self.host.ipv6

    def own(self, other: str) -> str:
        """Its own address of the family of another one."""
        return self.ipv6 if ip_address(other).version == 6 else self.ipv4

    async def connect(self, address: str, port: int, timeout: float = _PATIENCE) -> Outcome:
        """Connect, wait for the answer, close. Its time is the whole of it."""
        began = asyncio.get_running_loop().time()
        connection = await open_connection(self.namespace, address, port, timeout=timeout)
        if isinstance(connection, Outcome):
            return connection
        outcome = await connection.ask()
        connection.close()
        return _lasting(outcome, asyncio.get_running_loop().time() - began)

    async def keep(self, address: str, port: int, timeout: float = _PATIENCE) -> Connection:
        """A connection to be closed by the test. Raises `ConnectionError` where there is none."""
        connection = await open_connection(self.namespace, address, port, timeout=timeout)
        if isinstance(connection, Outcome):
            raise ConnectionError(connection)
        return connection

    async def ask_udp(self, address: str, port: int, timeout: float = _PATIENCE) -> Outcome:
        """Send a datagram and wait for an answer."""
        return await ask_udp(self.namespace, address, port, timeout=timeout)

    async def ping(self, address: str, timeout: float = _PATIENCE) -> Outcome:
        """Send an ICMP echo request and wait for the reply."""
        return await ping(self.namespace, address, timeout=timeout)

    async def command(self, *arguments: str, text: str | None = None) -> str:
        """Run a program here that ends soon; returns what it wrote. `AssertionError` where it fails."""
        return await asyncio.to_thread(_run, self.namespace, *arguments, text=text)


class LabServer(LabHost):
    """A host that answers on `SERVER_PORT` with its name."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.service = Service(host.name)


class NodeLab:
    """The laboratory. Use it with `async with`; everything in it ends with it.

    Nodes reject as often as there is cause to. With `limit_icmp` they send so many ICMP errors as the kernel does of
    itself: about six to each pod at once, then one in a second; most rejected datagrams then meet silence. What
    policy routing refuses in IPv4 has another limit, five at once and then one in a second, that no namespace can lift.
    """

    def __init__(
        self,
        *,
        pods: Sequence[str] = ("a", "b", "c"),
        servers: Sequence[str] = ("one", "two"),
        limit_icmp: bool = False,
    ) -> None:
        self._limit_icmp = limit_icmp
        self._first_pods = pods
        self._first_servers = servers
        self._hosts: dict[str, LabHost] = {}
        self.stand_in = Service(REAL)

    async def __aenter__(self) -> Self:
        self.network = NodeNetwork()
        self.node = self._node(self.network.node)
        try:
            await self._fill()
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()
        await asyncio.sleep(0)  # aborted transports close their sockets in the loop's next turn

    def pod(self, name: str) -> LabHost:
        """A pod by its name."""
        return self._hosts[name]

    def server(self, name: str) -> LabServer:
        """A server by its name."""
        server = self._hosts[name]
        assert isinstance(server, LabServer)
        return server

    def add_pod(self, name: str, *, addresses: tuple[str, ...] | None = None, node: LabHost | None = None) -> LabHost:
        """A pod on the node, or on another, with its own addresses or with these, once nobody has them."""
        pod = self.network.add_pod(name, addresses=addresses, node=node.host if node else None)
        self._hosts[name] = LabHost(pod)
        return self._hosts[name]

    async def add_server(
        self, name: str, *, addresses: tuple[str, ...] | None = None, node: LabHost | None = None
    ) -> LabServer:
        """A server beyond the node; or with `node`, a pod there that answers like one."""
        if node is None:
            host = self.network.add_server(name, addresses=addresses)
        else:
            host = self.network.add_pod(name, addresses=addresses, node=node.host)
        server = LabServer(host)
        self._hosts[name] = server
        await server.service.listen(server.namespace, map(str, host.addresses), (SERVER_PORT,))
        return server

    def add_node(self, name: str) -> LabHost:
        """Another node."""
        return self._node(self.network.add_node(name))

    def remove(self, host: LabHost) -> None:
        """Take a pod or server off the network at once; nobody is told."""
        del self._hosts[host.host.name]
        self.network.remove(host.host)
        if isinstance(host, LabServer):
            host.service.close()

    def relay(self, port: int) -> Relay:
        """Lets programs in the node reach this port of the machine's loopback."""
        return Relay(self.node.namespace, port=port)

    async def arrivals(self) -> Counter[str]:
        """How many packets of any protocol came as far as the real metadata service, by source address."""
        return await asyncio.to_thread(_arrivals, self.network.upstream)

    def _node(self, host: Host) -> LabHost:
        if not self._limit_icmp:
            host.namespace.set_parameter("ipv4.icmp_ratemask", 0)
            host.namespace.set_parameter("ipv6.icmp.ratemask", "0")
        return LabHost(host)

    async def _fill(self) -> None:
        await asyncio.to_thread(_run, self.network.upstream, "nft", "-f", "-", text=_ARRIVALS)
        await self.stand_in.listen(self.network.upstream, METADATA_ADDRESSES, STAND_IN_PORTS)
        for name in self._first_pods:
            self.add_pod(name)
        for name in self._first_servers:
            await self.add_server(name)

    def _close(self) -> None:
        self.stand_in.close()
        for host in self._hosts.values():
            if isinstance(host, LabServer):
                host.service.close()
        self.network.close()


def _lasting(outcome: Outcome, seconds: float) -> Outcome:
    return Outcome(result=outcome.result, seconds=seconds, by=outcome.by, source=outcome.source, error=outcome.error)


def _run(namespace: Namespace, *arguments: str, text: str | None = None) -> str:
    program = namespace.run(
        lambda: subprocess.run(
            arguments, check=False, input=text, capture_output=True, text=True, timeout=_COMMAND_SECONDS
        )
    )
    assert program.returncode == 0, f"{arguments}: {program.stderr}{program.stdout}"
    return program.stdout


def _arrivals(upstream: Namespace) -> Counter[str]:
    ruleset: dict[str, Any] = json.loads(_run(upstream, "nft", "-j", "list", "table", "inet", "arrivals"))
    elements = [each["elem"] for item in ruleset["nftables"] for each in item.get("set", {}).get("elem", ())]
    return Counter({element["val"]: element["counter"]["packets"] for element in elements})
