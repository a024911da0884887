"""Requests that are pipelined behind one that waits: however their connection ends, nothing of them is left."""

import asyncio
import logging
import socket
import struct
from collections.abc import Iterator

import pytest

from iam4kube.metadata.limits import ConnectionLimits, WaitingLimits
from iam4kube.runtime.asgi import Receive, Scope, Send
from iam4kube.runtime.parsing import ListenAddress
from iam4kube.server.operators import operators_listener
from tests.support.cluster import account, pod
from tests.support.listening import Client as OperatorsClient
from tests.support.metadata import (
    ROLES,
    STRANGER,
    TOKEN_PATH,
    TTL_HEADER,
    Client,
    MetadataServer,
    ended,
    metadata_server,
    still_serves,
)
from tests.support.waiting import wait_until

LIST = f"GET {ROLES} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
CREDENTIALS = f"GET {ROLES}orders HTTP/1.1\r\nHost: x\r\n\r\n".encode()
TOKEN = f"PUT {TOKEN_PATH} HTTP/1.1\r\nHost: x\r\n{TTL_HEADER}: 60\r\n\r\n".encode()
REGION = b"GET /latest/meta-data/placement/region HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = f"GET {ROLES} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
LARGE = f"GET {ROLES} HTTP/1.1\r\nX-Much: ".encode() + b"a" * 7_000 + b"\r\n\r\n"

both_ways = pytest.mark.parametrize("together", [True, False], ids=["in one piece", "one after the other"])


@pytest.fixture(autouse=True)
def no_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Clients must not be able to fill the log with errors."""
    yield
    assert [record.message for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


async def waiting_client(server: MetadataServer, first: bytes, *more: bytes, together: bool) -> Client:
    """A client whose first request waits, with more behind it, in the same packet or later."""
    client, waiting = await server.connect(STRANGER), len(server.waiting)
    client.send(first + b"".join(more) if together else first)
    await wait_until(lambda: len(server.waiting) > waiting)
    for request in () if together else more:
        client.send(request)
        await asyncio.sleep(0.005)  # so that the server reads each by itself
    return client


async def nothing_is_left(server: MetadataServer) -> None:
    """Wait until there is no task, seat, wait or connection."""

    def left() -> tuple[int, ...]:
        listener = server.listener
        return (listener.running_requests, len(server.waiting), len(server.cluster.waits), listener.open_connections)

    await wait_until(lambda: left() == (0, 0, 0, 0), seconds=4)


@both_ways
@pytest.mark.parametrize("more", [[LIST], [LIST, CREDENTIALS], [UPGRADE], [UPGRADE, LIST], [LIST, LIST[:20]]])
@pytest.mark.parametrize("reset", [True, False])
async def test_a_client_that_hangs_up_leaves_nothing(reset: bool, more: list[bytes], together: bool) -> None:
    """Whatever it has sent behind its request, and long before the deadline."""
    async with metadata_server() as server:
        client = await waiting_client(server, LIST, *more, together=together)
        if reset:
            raw = client.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await client.close()
        await nothing_is_left(server)


@both_ways
async def test_a_deadline_that_closes_the_connection_leaves_nothing(together: bool) -> None:
    """The requests behind are not answered either: their connection is gone."""
    async with metadata_server(MetadataServer(request_deadline=0.1)) as server:
        client = await waiting_client(server, CREDENTIALS, CREDENTIALS, together=together)
        assert await client.rest() == b""
        await client.close()
        await nothing_is_left(server)


@both_ways
async def test_a_request_without_a_seat_leaves_nothing(together: bool) -> None:
    """Its connection is closed, and the requests of others wait on."""
    async with metadata_server(MetadataServer(waiting_limits=WaitingLimits(per_source=1))) as server:
        seated = await waiting_client(server, LIST, together=together)
        for _ in range(20):
            client = await server.connect(STRANGER)
            client.send(CREDENTIALS * 2)
            assert await client.rest() == b""
            await client.close()
        await wait_until(lambda: server.listener.running_requests == 1)
        assert len(server.waiting) == 1
        await seated.close()
        await nothing_is_left(server)


@both_ways
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ([LIST] * 20, "too_many_pipelined"),
        ([LIST, b"GET\r\n\r\n"], "malformed"),
        ([LIST, b"GET /\xff HTTP/1.1\r\n\r\n"], "malformed"),
        ([LIST, b"GET http:// HTTP/1.1\r\n\r\n"], "malformed"),
        ([LIST, b"POST / HTTP/1.1\r\nContent-Length: 9000\r\n\r\n" + b"a" * 9000], "body_too_large"),
        ([LIST, b"GET / HTTP/1.1\r\n"], "request_too_slow"),
    ],
)
async def test_requests_that_are_refused_leave_nothing(more: list[bytes], reason: str, together: bool) -> None:
    """Nor does the one before them, which is all right."""
    async with metadata_server(MetadataServer(connection_limits=ConnectionLimits(request_seconds=0.3))) as server:
        client = await server.connect(STRANGER)
        client.send(LIST)
        for request in [b"".join(more)] if together else more:
            await asyncio.sleep(0 if together else 0.005)
            client.send(request)
        async with asyncio.timeout(2):
            await client.rest()
        await nothing_is_left(server)
        await client.close()
        assert ended(server, reason) == 1


async def test_requests_in_the_queue_have_a_bound_in_bytes_together() -> None:
    """They are held in memory, and a few thousand headers take thirty times as much as on the wire."""
    async with metadata_server() as server:
        client = await waiting_client(server, LIST, LARGE, LARGE, LARGE, LARGE, together=False)
        await client.rest()
        await nothing_is_left(server)
        await client.close()
        assert ended(server, "too_many_pipelined") == 1


async def test_the_bound_is_of_those_that_are_in_the_queue_now() -> None:
    """Afterwards there is room for as much again."""
    async with metadata_server() as server:
        client = await waiting_client(server, LIST, LARGE, LARGE, LARGE, together=False)
        server.cluster.deliver(pod("orders-2", STRANGER, service_account="orders"))
        assert [(await client.reply()).text for _ in range(4)] == ["orders"] * 4
        client.send(LARGE)
        assert (await client.reply()).text == "orders"
        await client.close()


@both_ways
async def test_a_stop_has_nothing_to_wait_for(together: bool) -> None:
    """Once the waits are closed, as they are at shutdown, the listener stops at once."""
    async with metadata_server() as server:
        client = await waiting_client(server, CREDENTIALS, CREDENTIALS, together=together)
        server.cluster.waits.close()
        async with asyncio.timeout(3):
            await server.listener.stop(5)
        await nothing_is_left(server)
        await client.close()


@both_ways
async def test_a_stop_that_breaks_off_leaves_nothing(together: bool) -> None:
    """Requests that wait hear of it, and end by themselves: a cancellation is an error in the log."""
    async with metadata_server() as server:
        client = await waiting_client(server, LIST, LIST, together=together)
        async with asyncio.timeout(3):
            await server.listener.stop(0.05)
        await nothing_is_left(server)
        await client.close()


@both_ways
async def test_a_request_that_was_queued_hears_of_the_end_as_well(together: bool) -> None:
    """The first is answered, the second waits when the client hangs up, and a third is behind it."""
    async with metadata_server() as server:
        client = await waiting_client(server, REGION, LIST, LIST, together=together)
        server.cluster.deliver(account("late", "arn:aws:iam::111122223333:role/late"))
        server.cluster.deliver(pod("late-1", STRANGER, service_account="late"))
        assert (await client.reply()).status == 200
        await wait_until(lambda: len(server.waiting) == 1)
        await client.close()
        await nothing_is_left(server)


@both_ways
async def test_an_answer_given_before_does_not_limit_the_wait(together: bool) -> None:
    """The time for which a connection may be idle begins with an answer, and ends with the next request."""
    async with metadata_server() as server:
        client = await server.connect(STRANGER)
        client.send(TOKEN + (LIST if together else b""))
        await client.reply()
        client.send(b"" if together else LIST)
        await wait_until(lambda: len(server.waiting) == 1)
        (connection,) = server.listener.state.connections
        assert connection.timeout_keep_alive_task is None
        await client.close()
        await nothing_is_left(server)


async def test_two_thousand_connections_leave_as_many_tasks_as_before() -> None:
    """One after the other, each closed for want of a seat with a request pipelined."""
    async with metadata_server(MetadataServer(waiting_limits=WaitingLimits(per_source=1))) as server:
        seated = await waiting_client(server, LIST, together=True)
        before = len(asyncio.all_tasks())
        for _ in range(2_000):
            client = await server.connect(STRANGER)
            client.send(CREDENTIALS * 2)
            await client.rest()
            await client.close()
        await wait_until(lambda: len(asyncio.all_tasks()) <= before)
        assert await still_serves(server)
        await seated.close()
        await nothing_is_left(server)


async def test_an_error_never_becomes_a_part_of_an_answer_that_has_begun() -> None:
    """Behind a head with a length, a client would take it for the body."""
    begun = asyncio.Event()

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    listener = operators_listener(application, ListenAddress("127.0.0.1", 0), name="test", setting="--listen")
    await listener.start()
    client = OperatorsClient(*await asyncio.open_connection("127.0.0.1", listener.port))
    client.send(LIST + LIST)
    await begun.wait()
    client.send(b"malformed\r\n\r\n")
    answer = await client.ended()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1") == 1
    await client.close()
    await wait_until(lambda: (listener.running_requests, listener.open_connections) == (0, 0), seconds=2)
    await listener.stop(1)
