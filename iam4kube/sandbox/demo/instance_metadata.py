"""A stand-in for the real metadata service, with the role of the node: what pods must not reach.

It answers IMDSv2 as EC2 does, on port 80 of both of its addresses. On a TCP port and a UDP port beside it somebody
listens, too: nobody should reach those either, and that means something only where somebody is there.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from iam4kube.sandbox.network import METADATA_ADDRESSES, METADATA_IPV4, Namespace

PORT = 80
OTHER_TCP_PORT = 8080
OTHER_UDP_PORT = 123
_ROLES = "/latest/meta-data/iam/security-credentials/"
_ZONE = "/latest/meta-data/placement/availability-zone/"  # boto3 finds the region by it


class InstanceMetadata:
    """The service. `run` it."""

    def __init__(self, role: str, credentials: dict[str, str], *, zone: str = "eu-central-1a") -> None:
        """`credentials` is the document for the role of this name."""
        self._role = role
        self._credentials = credentials
        self._zone = zone
        self.askers: Counter[str] = Counter()
        """Requests and datagrams by the address that they came from."""

    @asynccontextmanager
    async def run(self, namespace: Namespace) -> AsyncIterator[None]:
        """Answer on its addresses, which the namespace has."""
        application = web.Application(middlewares=[self._count])
        application.router.add_put("/latest/api/token", self._token)
        application.router.add_get(_ROLES, self._roles)
        application.router.add_get(_ROLES + self._role, self._document)
        application.router.add_get(_ZONE, self._availability_zone)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        async with AsyncExitStack() as listening:
            listening.push_async_callback(runner.cleanup)
            for address in METADATA_ADDRESSES:
                await web.SockSite(runner, namespace.bound_socket(address, PORT)).start()
            await web.SockSite(runner, namespace.bound_socket(METADATA_IPV4, OTHER_TCP_PORT)).start()
            listening.callback((await self._listen_udp(namespace)).close)
            yield

    async def _listen_udp(self, namespace: Namespace) -> asyncio.DatagramTransport:
        bound = namespace.bound_socket(METADATA_IPV4, OTHER_UDP_PORT, socket.SOCK_DGRAM)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Echo(self.askers), sock=bound)
        return transport

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.askers[str(request.remote)] += 1
        return await handler(request)

    async def _token(self, request: web.Request) -> web.Response:
        name = "X-aws-ec2-metadata-token-ttl-seconds"
        return web.Response(text="token-of-the-real-one", headers={name: request.headers.get(name, "21600")})

    async def _roles(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._role)

    async def _document(self, _request: web.Request) -> web.Response:
        return web.json_response(self._credentials)

    async def _availability_zone(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._zone)


class _Echo(asyncio.DatagramProtocol):
    def __init__(self, askers: Counter[str]) -> None:
        self._askers = askers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, client: tuple[str | int, ...]) -> None:
        self._askers[str(client[0])] += 1
        self._transport.sendto(data, client)
