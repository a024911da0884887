"""Clients that break the protocol or dawdle: each is ended cheaply, and the others notice nothing."""

import asyncio
import logging
import random

import pytest

from iam4kube.metadata.limits import ConnectionLimits
from tests.support.metadata import (
    OTHER_POD,
    POD,
    ROLES,
    TOKEN_HEADER,
    Client,
    MetadataServer,
    ended,
    metadata_server,
    still_serves,
)
from tests.support.waiting import wait_until

REQUEST = f"GET {ROLES} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
HASTY = ConnectionLimits(request_seconds=0.1)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\r\n\r\nhello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_malformed_http_is_an_empty_400_and_no_traceback(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Then the connection is closed."""
    async with metadata_server() as server:
        client = await server.connect()
        client.send(garbage)
        answer = await client.rest()
        await client.close()

        assert b" 400 Bad Request\r\n" in answer
        assert answer.endswith(b"connection: close\r\n\r\n")
        assert await still_serves(server)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_random_bytes_never_get_a_body_or_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Requests with bytes changed, cut out and doubled at random, and the tokens and paths of real ones among them."""
    seed = random.Random(20261121)
    async with metadata_server(MetadataServer(request_deadline=0.02, connection_limits=HASTY)) as server:
        for _ in range(300):
            client = await server.connect()
            client.send(mutated(seed, REQUEST))
            client.writer.write_eof()
            answer = await client.rest()
            await client.close()
            for part in answer.split(b"HTTP/1.1 ")[1:]:
                head, _, body = part.partition(b"\r\n\r\n")
                assert head.startswith(b"200") or body == b"", answer
        assert await still_serves(server)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def mutated(seed: random.Random, data: bytes) -> bytes:
    """The same bytes, more or less."""
    changed = bytearray(data)
    for _ in range(seed.randint(1, 6)):
        at = seed.randrange(len(changed))
        match seed.randrange(4):
            case 0:
                changed[at] = seed.randrange(256)
            case 1:
                del changed[at : at + seed.randint(1, 8)]
            case 2:
                changed[at:at] = bytes(seed.randrange(256) for _ in range(seed.randint(1, 8)))
            case _:
                changed[at:at] = changed[: seed.randint(1, len(changed))]
        if not changed:
            return b"\r\n"
    return bytes(changed)


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\nX-Much: " + b"a" * 20_000 + b"\r\n\r\n", b"431", "head_too_large"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431", "head_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 101 + b"\r\n", b"431", "head_too_large"),
        (b"POST /latest/api/token HTTP/1.1\r\nContent-Length: 9000\r\n\r\n" + b"a" * 9000, b"413", "body_too_large"),
    ],
)
async def test_a_request_has_to_be_small(head: bytes, status: bytes, reason: str) -> None:
    """Head and body have bounds; what a body's request had to say was said before."""
    async with metadata_server() as server:
        client = await server.connect()
        client.send(head)
        answer = await client.rest()
        await client.close()

        assert answer == b"" or b"HTTP/1.1 " + status in answer  # unread bytes make the kernel reset the connection
        assert ended(server, reason) == 1
        assert await still_serves(server)


async def test_a_head_that_grows_for_ever_ends_at_its_bound() -> None:
    """One header after another, none of them large, and not too many."""
    async with metadata_server() as server:
        client = await server.connect()
        client.send(b"GET / HTTP/1.1\r\n")
        headers = 0
        while not ended(server, "head_too_large"):
            client.send(b"X-One-More: " + b"a" * 1000 + b"\r\n")
            headers += 1
            await asyncio.sleep(0.0001)
        await client.close()
        assert 14 < headers < 100


@pytest.mark.parametrize(
    "before", [b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"]
)
async def test_headers_are_few(before: bytes) -> None:
    """Before a body or behind it: each costs many times its bytes, for as long as its request is there."""
    async with metadata_server() as server:
        client = await server.connect()
        client.send(before + b"a:\r\n" * 102)
        await wait_until(lambda: ended(server, "head_too_large") + ended(server, "body_too_large") == 1)
        await client.close()
        assert await still_serves(server)


@pytest.mark.parametrize("trailer", [b"X-One-More: " + b"a" * 1000 + b"\r\n", b"a" * 1000])
async def test_what_follows_a_body_ends_at_its_bound(trailer: bytes) -> None:
    """Trailing headers, many or one that never ends: the parser would keep all of them."""
    async with metadata_server() as server:
        client = await server.connect()
        client.send(b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.reply()
        client.send(b"0\r\nX-Trailer: ")
        sent = 0
        while not ended(server, "body_too_large"):
            client.send(trailer)
            sent += 1
            await asyncio.sleep(0.0001)
        await client.close()
        assert 14 < sent < 100
        assert await still_serves(server)


@pytest.mark.parametrize(
    "beginning",
    [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"],
)
async def test_a_slow_request_is_ended_at_its_deadline(beginning: bytes) -> None:
    """Silence, half a line, half a head, half a body: all the same."""
    async with metadata_server(MetadataServer(connection_limits=HASTY)) as server:
        client = await server.connect()
        client.send(beginning)
        await client.rest()
        await client.close()

        assert ended(server, "request_too_slow") == 1


async def test_slow_loris_gains_nothing_by_dripping() -> None:
    """A byte now and then does not renew the deadline, neither for a first request nor for a later one."""
    async with metadata_server(MetadataServer(connection_limits=HASTY)) as server:
        first, later = await server.connect(), await server.connect()
        assert (await later.ask("GET", ROLES)).status == 200
        dripping = [asyncio.create_task(drip(client)) for client in (first, later)]
        await asyncio.gather(first.rest(), later.rest())
        await asyncio.gather(*dripping)
        await asyncio.gather(first.close(), later.close())

        assert ended(server, "request_too_slow") == 2


async def test_line_ends_before_a_request_do_not_keep_its_connection() -> None:
    """They are allowed, and begin no request: neither the idle time nor a request's would end such a connection."""
    async with metadata_server(MetadataServer(connection_limits=HASTY, keep_alive=0.2)) as server:
        client = await server.connect()
        assert (await client.ask("GET", ROLES)).status == 200
        client.send(b"\r\n")
        async with asyncio.timeout(2):
            assert await client.rest() == b""
        await client.close()

        assert ended(server, "request_too_slow") == 1


async def drip(client: Client) -> None:
    """Send a header byte by byte, until the connection ends."""
    client.send(b"GET / HTTP/1.1\r\n")
    while not client.reader.at_eof() and not client.writer.is_closing():
        client.send(b"a")
        await asyncio.sleep(0.02)


async def test_an_idle_kept_connection_is_closed() -> None:
    """After the listener's time for it, and without an error."""
    async with metadata_server(MetadataServer(keep_alive=0.05)) as server:
        client = await server.connect()
        assert (await client.ask("GET", ROLES)).status == 200
        assert await client.rest() == b""
        await client.close()


async def test_an_upgrade_is_answered_as_the_request_it_is() -> None:
    """No other protocol is spoken, and the connection ends."""
    async with metadata_server() as server:
        client = await server.connect()
        reply = await client.ask("GET", ROLES, Connection="Upgrade", Upgrade="websocket")
        assert reply.text == "orders"
        assert await client.rest() == b""
        await client.close()


async def test_a_proxys_form_of_a_url_is_understood() -> None:
    """With the host in the request line, and with a query; neither matters."""
    async with metadata_server() as server:
        assert (await server.get("http://169.254.169.254" + ROLES)).text == "orders"
        assert (await server.get(ROLES + "?x=/latest")).text == "orders"
        assert (await server.get("/?" + ROLES)).status == 404


async def test_p05_headers_change_nobodys_identity() -> None:
    """Only the peer's address counts, with a token or without."""
    async with metadata_server() as server:
        headers = {"X-Real-IP": OTHER_POD, "Forwarded": f"for={OTHER_POD}", "Via": OTHER_POD, "Host": OTHER_POD}
        assert (await server.get(ROLES, **headers)).text == "orders"
        token = {TOKEN_HEADER: await server.token()}
        assert (await server.get(ROLES, **token, X_Forwarded_For=OTHER_POD)).text == "orders"


async def test_an_ipv4_mapped_peer_is_its_ipv4_address() -> None:
    """As a dual-stack socket names it; a token from one kind of socket is good at the other."""
    async with metadata_server(MetadataServer(listen="::")) as server:
        assert (await server.get(ROLES)).text == "orders"
        token = server.tokens.issue(server.observed[0][0], ttl=60).decode()
        assert (await server.get(ROLES, **{TOKEN_HEADER: token})).status == 200
        assert server.observed[0][0] == POD


async def test_a_defect_is_503_without_a_body_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong inside, the client gets what it survives."""
    async with metadata_server() as server:
        monkeypatch.setattr(server.cluster.chain, "evaluate", lambda _address: 1 / 0)
        reply = await server.get(ROLES)
        assert (reply.status, reply.body) == (503, b"")
        with pytest.raises(ConnectionError):
            await server.get(ROLES + "orders")
        assert server.sample("iam4kube_metadata_refusals_total", reason="defect") == 2
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == ["Request failed"] * 2


async def test_a_defect_of_ours_is_no_clients_mistake_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets an empty answer either way; we get a traceback."""

    def broken(_application: object, _request: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("iam4kube.metadata.application.Application.respond", broken)
    async with metadata_server() as server:
        reply = await server.get(ROLES)
    assert (reply.status, reply.body) == (400, b"")
    assert any("a defect" in (record.exc_text or "") for record in caplog.records)
