"""Clients that come in crowds, wait, hang up or take in nothing: bounds hold, and the others notice nothing."""

import asyncio
import socket
import struct
from functools import partial

import pytest

from iam4kube.metadata.limits import ConnectionLimits, WaitingLimits
from tests.support.cluster import account, pod
from tests.support.metadata import (
    OTHER_POD,
    POD,
    ROLES,
    STRANGER,
    TOKEN_HEADER,
    TOKEN_PATH,
    TTL_HEADER,
    MetadataServer,
    ended,
    metadata_server,
    still_serves,
)
from tests.support.waiting import wait_until

REQUEST = f"GET {ROLES} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
HASTY = ConnectionLimits(request_seconds=0.1)


async def test_one_source_cannot_use_up_the_connections() -> None:
    """Its own bound holds it; the others have the rest."""
    limits = ConnectionLimits(connections=20, connections_per_source=5)
    async with metadata_server(MetadataServer(connection_limits=limits)) as server:
        greedy = [await server.connect(POD) for _ in range(8)]
        await wait_until(lambda: ended(server, "too_many_connections") == 3)
        assert server.sample("iam4kube_metadata_connections") == 5
        assert await still_serves(server)

        for client in greedy:
            await client.close()
        await wait_until(lambda: len(server.guard.quota) == 0)
        assert (await server.get(ROLES, POD)).text == "orders"


async def test_the_bound_in_total_holds_whoever_comes() -> None:
    """The next connection is refused at once, and accepted again when one has gone."""
    async with metadata_server(MetadataServer(connection_limits=ConnectionLimits(connections=3))) as server:
        clients = [await server.connect(f"127.0.3.{number}") for number in range(1, 4)]
        await wait_until(lambda: len(server.guard.quota) == 3)
        with pytest.raises(ConnectionError):
            await server.get(ROLES, OTHER_POD)
        await clients.pop().close()
        await wait_until(lambda: len(server.guard.quota) == 2)
        assert await still_serves(server)
        for client in clients:
            await client.close()


async def test_waiting_requests_of_one_source_are_bounded_and_leave_room_for_others() -> None:
    """What exceeds the bound is told 503 at once; a pod that waits for its own role is not in the way."""
    limits = WaitingLimits(total=6, per_source=4)
    async with metadata_server(MetadataServer(waiting_limits=limits)) as server:
        crowd = [await server.connect(STRANGER) for _ in range(6)]
        for client in crowd:
            client.send(REQUEST)
        refused = [await crowd[4].reply(), await crowd[5].reply()]
        assert ([reply.status for reply in refused], len(server.waiting)) == ([503, 503], 4)
        assert server.sample("iam4kube_metadata_waiting_requests") == 4
        assert server.sample("iam4kube_metadata_refusals_total", reason="too_many_waiting") == 2

        late = asyncio.create_task(server.get(ROLES, "127.0.1.20"))
        await wait_until(lambda: len(server.waiting) == 5)
        server.cluster.deliver(account("late", "arn:aws:iam::111122223333:role/late"))
        server.credentials.put(next(key for key in server.cluster.sink.held if key.session_name == "shop@late"))
        server.cluster.deliver(pod("late-1", "127.0.1.20", service_account="late"))
        assert (await late).text == "late"
        assert await still_serves(server)
        for client in crowd:
            await client.close()


async def test_a_waiting_request_ends_when_its_client_hangs_up() -> None:
    """Nothing of it is left: neither the seat, nor the wait, nor the demand for credentials."""
    async with metadata_server() as server:
        server.cluster.deliver(account("late", "arn:aws:iam::111122223333:role/late"))
        server.cluster.deliver(pod("late-1", "127.0.1.20", service_account="late"))
        for source in (STRANGER, "127.0.1.20"):
            client = await server.connect(source)
            client.send(REQUEST)
            await wait_until(lambda: len(server.waiting) == 1)
            await client.close()
            await wait_until(lambda: len(server.waiting) == 0)
            assert (len(server.cluster.waits), server.credentials.demanded) == (0, [])
        label = {"route": "role_list", "status": "gone", "authentication": "v1"}
        assert server.sample("iam4kube_metadata_requests_total", **label) == 2


async def test_r05_many_strangers_leave_nothing_behind() -> None:
    """Each asks and goes."""
    async with metadata_server() as server:
        for number in range(200):
            client = await server.connect(f"127.7.{number}.1")
            client.send(REQUEST)
            await wait_until(lambda: len(server.waiting) == 1)
            await client.close()
            await wait_until(lambda: len(server.guard.quota) == 0)
        assert (len(server.waiting), len(server.cluster.waits)) == (0, 0)


async def test_waiting_requests_end_at_shutdown() -> None:
    """The list says 503; credentials are answered by closing."""
    async with metadata_server() as server:
        listing = asyncio.create_task(server.get(ROLES, STRANGER))
        getting = asyncio.create_task(server.get(ROLES + "orders", STRANGER))
        await wait_until(lambda: len(server.waiting) == 2)
        server.cluster.waits.close()

        assert (await listing).status == 503
        with pytest.raises(ConnectionError):
            await getting


async def test_while_draining_every_answer_ends_its_connection() -> None:
    """Answers at once, answers that were waited for, and refusals."""
    async with metadata_server() as server:
        kept, waiting, refused = [await server.connect(source) for source in (POD, STRANGER, POD)]
        assert "connection" not in (await kept.ask("GET", ROLES)).headers
        waiting.send(REQUEST)
        await wait_until(lambda: len(server.waiting) == 1)
        server.listener.drain()

        assert (await kept.ask("GET", ROLES)).headers["connection"] == "close"
        assert (await refused.ask("GET", "/", **{TOKEN_HEADER: "x"})).headers["connection"] == "close"
        server.cluster.deliver(pod("orders-2", STRANGER, service_account="orders"))
        assert (await waiting.reply()).headers["connection"] == "close"
        for client in (kept, waiting, refused):
            assert await client.rest() == b""
            await client.close()


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    """Also when the first of them has to wait."""
    async with metadata_server() as server:
        client = await server.connect(STRANGER)
        put = f"PUT {TOKEN_PATH} HTTP/1.1\r\nHost: x\r\n{TTL_HEADER}: 60\r\n\r\n".encode()
        client.send(REQUEST + put + REQUEST)
        await wait_until(lambda: len(server.waiting) == 1)
        server.cluster.deliver(pod("orders-2", STRANGER, service_account="orders"))

        assert [(await client.reply()).text[:2] for _ in range(3)] == ["or", "1.", "or"]
        await client.close()


@pytest.mark.parametrize("source", [POD, STRANGER])
async def test_too_many_pipelined_requests_are_refused(source: str) -> None:
    """A few hundred bytes must not become thousands of answers held in memory."""
    async with metadata_server() as server:
        client = await server.connect(source)
        client.send(REQUEST * 50)
        await client.rest()
        await client.close()
        assert ended(server, "too_many_pipelined") == 1


async def test_a_client_that_takes_in_nothing_is_ended() -> None:
    """It asks and asks, and reads no answer: they must not pile up here."""
    async with metadata_server(MetadataServer(connection_limits=HASTY)) as server:
        client = await server.connect(receive_buffer=1024)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that is both
        await wait_until(lambda: len(server.listener.state.connections) == 1)
        (connection,) = server.listener.state.connections
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for number in range(1, 9):
            client.send(f"GET {ROLES}orders HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 10)
            await wait_until(partial(answered_or_stuck, server, 10 * number))
        await wait_until(lambda: ended(server, "answer_not_taken") == 1)
        client.writer.transport.abort()
        await client.close()
        assert await still_serves(server)


async def test_a_reset_connection_is_forgotten_at_once() -> None:
    """Some clients reset every connection: a timer must not keep thousands of them for a minute."""
    async with metadata_server() as server:
        client = await server.connect()
        assert (await client.ask("GET", ROLES)).status == 200
        (connection,) = server.listener.state.connections
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await client.close()
        await wait_until(lambda: len(server.guard.quota) == 0)

        assert connection.timeout_keep_alive_task is None


def answered_or_stuck(server: MetadataServer, answers: int) -> bool:
    """Whether so many answers were given, or the socket's buffers are full."""
    served = server.sample("iam4kube_metadata_credentials_life_seconds_count")
    return served >= answers or len(server.guard.unsent) > 0 or ended(server, "answer_not_taken") > 0
