"""The conformance cases that break many clients, over a real socket, against the real lookup."""

import asyncio
import json

import pytest

from iam4kube.credentials.values import Refused
from iam4kube.metadata.authentication import TokenPolicy
from iam4kube.metadata.keyring import new_keyring
from tests.support.cluster import account, pod
from tests.support.metadata import (
    OTHER_POD,
    POD,
    POD_WITHOUT_ROLE,
    ROLES,
    START,
    STRANGER,
    TOKEN_HEADER,
    TOKEN_PATH,
    TTL_HEADER,
    Clock,
    MetadataServer,
    Reply,
    metadata_server,
)
from tests.support.waiting import wait_until

REQUIRED = TokenPolicy.REQUIRED
CREDENTIALS = ROLES + "orders"
PATHS = ["/", "/latest", "/latest/", "/nothing/here", ROLES, CREDENTIALS, "/latest/meta-data/placement/region"]


@pytest.mark.parametrize("ttl", [21600, 600, 300, 1])
async def test_case_01_put_answers_a_header_safe_token_and_echoes_its_time_to_live(ttl: int) -> None:
    """The body is the token and nothing else; the time to live comes back as a number of seconds."""
    async with metadata_server() as server:
        reply = await server.ask("PUT", TOKEN_PATH, **{TTL_HEADER: str(ttl)})

        assert (reply.status, reply.headers[TTL_HEADER.lower()]) == (200, str(ttl))
        assert reply.headers["content-type"] == "text/plain"
        assert reply.text.isascii()
        assert reply.text.replace(".", "").replace("-", "").replace("_", "").isalnum()
        assert (await server.get(ROLES, **{TOKEN_HEADER: reply.text})).status == 200


@pytest.mark.parametrize("head", [b"Content-Length: 0\r\n", b"", b"Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("name", [TTL_HEADER, TTL_HEADER.lower(), TTL_HEADER.upper()])
async def test_case_02_put_needs_no_content_length_and_no_letter_case(head: bytes, name: str) -> None:
    """Content-Length is 0 from botocore, absent from CRT; Go changes the header's letters."""
    body = b"0\r\n\r\n" if b"chunked" in head else b""
    async with metadata_server() as server:
        client = await server.connect()
        client.send(b"PUT %b HTTP/1.1\r\nHost: x\r\n%b: 60\r\n" % (TOKEN_PATH.encode(), name.encode()))
        client.send(head + b"\r\n" + body)

        assert (await client.reply()).status == 200
        await client.close()


@pytest.mark.parametrize("ttl", [None, "0", "-1", "21601", "abc", "", "1.5", "+5", "0x10", "9" * 400, "٣"])
async def test_case_03_put_with_a_bad_time_to_live_is_400(ttl: str | None) -> None:
    """Missing, out of bounds or no number at all."""
    headers = {} if ttl is None else {TTL_HEADER: ttl}
    async with metadata_server() as server:
        reply = await server.ask("PUT", TOKEN_PATH, **headers)

        assert (reply.status, reply.body) == (400, b"")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_case_04_without_a_good_token_every_path_is_401(method: str, path: str) -> None:
    """Authentication comes before routing; a missing token is 401 only where tokens are required."""
    async with metadata_server(MetadataServer(policy=REQUIRED)) as server:
        expired = await server.token(ttl=1)
        server.clock.pass_seconds(1 + 30 + 60 + 1)
        fresh = await server.token()
        tampered = fresh[:-1] + ("0" if fresh[-1] != "0" else "1")
        bad: list[dict[str, str]] = [{TOKEN_HEADER: token} for token in ("INVALID", "", "a.b.c.d.e", expired, tampered)]
        for headers in [{}, *bad]:
            reply = await server.ask(method, path, **headers)
            assert (reply.status, reply.body) == (401, b""), headers


async def test_case_04_a_bad_token_is_401_where_tokens_are_optional_too() -> None:
    """fluent-bit tells v2 from v1 by sending a token that cannot be good to `/`."""
    async with metadata_server() as server:
        for path in PATHS:
            assert (await server.get(path, **{TOKEN_HEADER: "INVALID"})).status == 401
        assert (await server.get("/")).status == 404
        assert (await server.get(ROLES)).status == 200


async def test_case_05_a_token_outlives_a_restart_and_works_on_every_replica() -> None:
    """Rust clients keep a token for six hours, whatever they are answered."""
    keyring = new_keyring(now=START)
    async with metadata_server(MetadataServer(keyring=keyring, policy=REQUIRED)) as before:
        token = await before.token()
    async with metadata_server(MetadataServer(keyring=keyring, policy=REQUIRED)) as after:
        assert (await after.get(ROLES, **{TOKEN_HEADER: token})).text == "orders"


@pytest.mark.parametrize("ttl", [1, 300, 21600])
async def test_case_06_a_token_is_good_for_its_whole_life_and_some_seconds(ttl: int) -> None:
    """Go v2 uses a token to its last second; clocks of replicas differ."""
    async with metadata_server() as server:
        token = await server.token(ttl=ttl)
        for seconds in (0, ttl, 30):
            server.clock.pass_seconds(seconds)
            assert (await server.get(ROLES, **{TOKEN_HEADER: token})).status == 200


async def test_case_06_replicas_may_differ_by_a_minute() -> None:
    """A token made by a replica whose clock is 60 s ahead is good here."""
    keyring = new_keyring(now=START)
    ahead = MetadataServer(keyring=keyring, clock=Clock())
    ahead.clock.pass_seconds(60)
    async with metadata_server(ahead) as there, metadata_server(MetadataServer(keyring=keyring)) as here:
        assert (await here.get(ROLES, **{TOKEN_HEADER: await there.token()})).status == 200


@pytest.mark.parametrize("path", [ROLES, ROLES.rstrip("/")])
async def test_case_07_the_role_list_is_the_bare_name_with_and_without_a_slash(path: str) -> None:
    """No redirect (C++ and .NET do not follow), no newline (CRT takes it for a part of the name)."""
    async with metadata_server() as server:
        reply = await server.get(path)

        assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"orders", "text/plain")


async def test_case_08_the_credentials_document_has_exactly_the_fields_that_clients_parse() -> None:
    """Text, seven fields and the account, times to the second in UTC."""
    async with metadata_server() as server:
        reply = await server.get(CREDENTIALS)

        assert (reply.status, reply.headers["content-type"]) == (200, "text/plain")
        assert reply.json == {
            "Code": "Success",
            "LastUpdated": "2026-11-21T08:00:00Z",
            "Type": "AWS-HMAC",
            "AccessKeyId": "ASIAEXAMPLE",
            "SecretAccessKey": "secret/with+slash",
            "Token": "session==",
            "Expiration": "2026-11-21T08:50:00Z",
            "AccountId": "111122223333",
        }


async def test_case_09_the_life_left_on_served_credentials_is_measured() -> None:
    """The cache keeps it over 25 minutes; here it is seen that the figure operators watch is the true one."""
    async with metadata_server() as server:
        await server.get(CREDENTIALS)

        assert server.sample("iam4kube_metadata_credentials_life_seconds_sum") == pytest.approx(3000, abs=5)
        assert server.sample("iam4kube_metadata_credentials_life_seconds_bucket", le="1500.0") == 0


async def test_case_10_warm_answers_are_immediate_and_tokens_need_nothing_at_all() -> None:
    """Go v2 waits 0.5 s for the headers. A token is issued before any watch has delivered anything."""
    async with metadata_server() as server:
        async with asyncio.timeout(0.4):
            assert (await server.get(CREDENTIALS)).status == 200
    async with metadata_server(empty=True) as server:
        async with asyncio.timeout(0.4):
            assert (await server.ask("PUT", TOKEN_PATH, STRANGER, **{TTL_HEADER: "60"})).status == 200


async def test_case_11_the_role_is_listed_only_once_its_credentials_are_there() -> None:
    """The answer is held, and comes with the credentials."""
    async with metadata_server() as server:
        server.cluster.deliver(account("late", "arn:aws:iam::111122223333:role/late"))
        server.cluster.deliver(pod("late-1", "127.0.1.7", service_account="late"))
        asking = asyncio.create_task(server.get(ROLES, "127.0.1.7"))
        await wait_until(lambda: len(server.credentials.demanded) == 1)
        server.credentials.put(server.credentials.demanded[0])

        assert (await asking).text == "late"


@pytest.mark.parametrize("path", [ROLES, "/latest/meta-data/iam/info", "/latest/meta-data/placement/region"])
async def test_case_11_a_deadline_is_an_empty_503(path: str) -> None:
    """Nobody knows the address until the request's deadline."""
    async with metadata_server(MetadataServer(request_deadline=0.05)) as server:
        reply = await server.get(path, STRANGER)

        assert (reply.status, reply.body) == (503, b"")
        assert server.sample("iam4kube_metadata_refusals_total", reason="unknown_address") == 1


async def test_case_12_no_error_has_a_body_and_no_list_is_empty() -> None:
    """CRT takes an error's body for a role name; PHP loops over an empty list."""
    async with metadata_server(MetadataServer(request_deadline=0.05)) as server:
        replies = [
            *[await server.ask(method, path) for method in ("GET", "POST", "DELETE") for path in ("/", TOKEN_PATH)],
            *[await server.get(ROLES, source) for source in (POD_WITHOUT_ROLE, STRANGER, "127.0.2.1")],
            await server.get(ROLES + "other"),
            await server.get(ROLES, **{TOKEN_HEADER: "x"}),
            await server.get(ROLES, X_Forwarded_For="10.0.0.1"),
            await server.ask("PUT", TOKEN_PATH),
        ]

        assert {reply.status for reply in replies} == {400, 401, 403, 404, 405, 503}
        assert {reply.body for reply in replies} == {b""}


async def test_case_12_r11_a_pod_without_a_role_gets_404_and_not_an_empty_list() -> None:
    """Without an annotation, with an impossible one, and where STS refuses the role."""
    async with metadata_server() as server:
        server.cluster.deliver(account("broken", "not an arn"), pod("broken-1", "127.0.1.8", service_account="broken"))
        server.credentials.put(server.orders_key, known=Refused("AccessDenied", "not authorized"))
        for source in (POD_WITHOUT_ROLE, "127.0.1.8", POD):
            for path in (ROLES, CREDENTIALS, "/latest/meta-data/iam/info"):
                reply = await server.get(path, source)
                assert (reply.status, reply.body) == (404, b"")


async def test_case_13_the_credentials_of_the_own_role_are_never_an_error_status() -> None:
    """CRT aborts its process on an error status here, and survives a closed connection."""
    async with metadata_server(MetadataServer(request_deadline=0.05)) as server:
        with pytest.raises(ConnectionError, match=r"closed after b''|reset"):
            await server.get(CREDENTIALS, STRANGER)
        assert (
            server.sample("iam4kube_metadata_requests_total", route="credentials", status="closed", authentication="v1")
            == 1
        )


async def test_case_13_valid_credentials_are_served_whatever_their_age() -> None:
    """A failing refresh does not withhold what is still good."""
    async with metadata_server() as server:
        server.credentials.put(server.orders_key, life=20.0)

        assert (await server.get(CREDENTIALS)).json["Code"] == "Success"


async def test_case_13_another_pods_role_name_is_404() -> None:
    """A name that is not the asker's own says nothing about whether it exists."""
    async with metadata_server() as server:
        mine: Reply = await server.get(ROLES + "billing", POD)

        assert mine.status == 404
        assert json.loads((await server.get(ROLES + "billing", OTHER_POD)).body)["Code"] == "Success"
