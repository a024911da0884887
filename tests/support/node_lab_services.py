"""What answers in the laboratory: says its own name and the client's address as it came, over TCP and UDP.

A TCP connection is answered once when it is accepted, and once more for every line that the client sends.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

from iam4kube.sandbox.network import Namespace


class Service:
    """One named service on some addresses and ports of a namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections: Counter[str] = Counter()
        """TCP connections that were accepted, by the client's address."""
        self.datagrams: Counter[str] = Counter()
        """UDP datagrams, by the client's address."""
        self._open: set[asyncio.Transport] = set()
        self._servers: list[asyncio.Server] = []
        self._endpoints: list[asyncio.DatagramTransport] = []

    async def listen(self, namespace: Namespace, addresses: Iterable[str], ports: Sequence[int]) -> None:
        """Answer on these ports of these addresses, TCP and UDP."""
        loop = asyncio.get_running_loop()
        for address in addresses:
            for port in ports:
                tcp = namespace.bound_socket(address, port)
                self._servers.append(await loop.create_server(lambda: _Answer(self), sock=tcp, backlog=4096))
                udp = namespace.bound_socket(address, port, socket.SOCK_DGRAM)
                endpoint, _ = await loop.create_datagram_endpoint(lambda: _DatagramAnswer(self), sock=udp)
                self._endpoints.append(endpoint)

    def close(self) -> None:
        """Stop listening, and abort the connections that are open."""
        for server in self._servers:
            server.close()
        for endpoint in self._endpoints:
            endpoint.abort()
        for connection in list(self._open):
            connection.abort()

    def accept(self, transport: asyncio.Transport, client: str) -> None:
        self._open.add(transport)
        self.connections[client] += 1

    def lose(self, transport: asyncio.Transport) -> None:
        self._open.discard(transport)

    def answer(self, client: str) -> bytes:
        return f"{self.name} {client}\n".encode()


class _Answer(asyncio.Protocol):
    def __init__(self, service: Service) -> None:
        self._service = service

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._client = str(transport.get_extra_info("peername")[0])
        self._service.accept(self._transport, self._client)
        self._transport.write(self._service.answer(self._client))

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._service.answer(self._client) * data.count(b"\n"))

    def connection_lost(self, error: Exception | None) -> None:
        self._service.lose(self._transport)


class _DatagramAnswer(asyncio.DatagramProtocol):
    def __init__(self, service: Service) -> None:
        self._service = service

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, client: tuple[str | int, ...]) -> None:
        address = str(client[0])
        self._service.datagrams[address] += 1
        self._transport.sendto(self._service.answer(address), client)
