"""The listener on real sockets: what its connections say."""

import asyncio
import socket
from datetime import UTC, datetime

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from iam4kube.runtime.asgi import Receive, Scope, Send, text_response
from tests.support.listening import Connect, Gate, Start, open_connections

pytestmark = pytest.mark.looptime  # both ends are in this process: time stands still while bytes are on the way


async def test_answers_carry_the_date_and_the_headers_of_the_listener(start: Start, connect: Connect) -> None:
    """And no other of uvicorn's own."""
    now = datetime(2026, 11, 1, 10, 15, tzinfo=UTC)
    listener = await start(headers=((b"server", b"EC2ws"),), now=lambda: now)
    client = await connect(listener)
    head, body = await client.ask()
    assert body == b"hello"
    assert head == (
        b"HTTP/1.1 200 OK\r\n"
        b"date: Sun, 01 Nov 2026 10:15:00 GMT\r\n"
        b"server: EC2ws\r\n"
        b"content-type: text/plain; charset=utf-8\r\n"
        b"content-length: 5\r\n\r\n"
    )


async def test_connections_and_requests_are_counted(start: Start, connect: Connect) -> None:
    """Idle connections are no requests."""
    gate = Gate()
    listener = await start(gate)
    await connect(listener)
    busy = await connect(listener)
    busy.send()
    await gate.asked.wait()
    await open_connections(listener, 2)
    assert listener.running_requests == 1
    gate.opened.set()
    assert (await busy.answer())[1] == b"late"
    await busy.close()
    await open_connections(listener, 1)
    assert listener.running_requests == 0


async def test_no_header_changes_the_peers_address(start: Start, connect: Connect) -> None:
    """By default uvicorn believes X-Forwarded-For from 127.0.0.1: it is the only identity there is."""
    peers: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        peers.append(scope["client"][0])
        await text_response(200, "")(scope, receive, send)

    client = await connect(await start(note))
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.0.9\r\nForwarded: for=10.0.0.9\r\n\r\n")
    await client.answer()
    assert peers == ["127.0.0.1"]


async def test_accepted_connections_do_not_wait_for_more_to_send(start: Start, connect: Connect) -> None:
    """TCP_NODELAY: two writes cost 44 ms with Nagle's algorithm."""
    listener = await start()
    await (await connect(listener)).ask()
    (connection,) = listener.state.connections
    accepted = connection.transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_a_protocol_of_ones_own_gets_the_listeners_state(start: Start, connect: Connect) -> None:
    """The seam for limits on connections."""
    seen: list[object] = []

    class Watched(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            seen.append(self.server_state)
            super().connection_made(transport)

    listener = await start(protocol=Watched)
    await (await connect(listener)).ask()
    assert seen == [listener.state]
