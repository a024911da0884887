"""The other conformance cases, over a real socket, against the real lookup."""

import asyncio
import string

import pytest

from iam4kube.metadata.authentication import TokenPolicy
from tests.support.cluster import account, pod
from tests.support.metadata import (
    NODE,
    OTHER_POD,
    POD,
    POD_WITHOUT_ROLE,
    ROLES,
    STRANGER,
    TOKEN_HEADER,
    TOKEN_PATH,
    TTL_HEADER,
    UNLABELLED_POD,
    MetadataServer,
    metadata_server,
)
from tests.support.waiting import wait_until

REGION = "/latest/meta-data/placement/region"
ZONE = "/latest/meta-data/placement/availability-zone"
DOCUMENT = "/latest/dynamic/instance-identity/document"
INFO = "/latest/meta-data/iam/info"


@pytest.mark.parametrize("child", ["", "/", "/orders"])
async def test_case_14_the_extended_resource_does_not_exist(child: str) -> None:
    """404 makes SDKs fall back to the common one; 401 and 403 break some Rust builds."""
    path = "/latest/meta-data/iam/security-credentials-extended" + child
    async with metadata_server(MetadataServer(policy=TokenPolicy.REQUIRED)) as server:
        assert (await server.get(path)).status == 401
        assert (await server.get(path, **{TOKEN_HEADER: await server.token()})).status == 404


@pytest.mark.parametrize("source", [POD, POD_WITHOUT_ROLE, NODE])
async def test_case_15_region_and_zone_are_those_of_the_askers_node(source: str) -> None:
    """They need no role, and a node's own address is answered with that node's. botocore adds a slash."""
    async with metadata_server() as server:
        for path in (REGION, REGION + "/"):
            assert (await server.get(path, source)).body == b"eu-west-1"
        for path in (ZONE, ZONE + "/"):
            assert (await server.get(path, source)).body == b"eu-west-1a"
        document = (await server.get(DOCUMENT, source)).json
        assert (document["region"], document["availabilityZone"]) == ("eu-west-1", "eu-west-1a")


async def test_case_15_the_identity_document_has_what_sdks_read_and_nothing_else() -> None:
    """The account is the role's; without a role it is left out."""
    async with metadata_server() as server:
        mine = (await server.get(DOCUMENT)).json
        assert sorted(mine) == ["accountId", "availabilityZone", "region", "version"]
        assert mine["accountId"] == "111122223333"
        assert sorted((await server.get(DOCUMENT, POD_WITHOUT_ROLE)).json) == ["availabilityZone", "region", "version"]


@pytest.mark.parametrize("path", [REGION, ZONE, DOCUMENT])
async def test_case_15_a_node_without_labels_is_404(path: str) -> None:
    """Nothing is guessed, and the server's own region least of all."""
    async with metadata_server() as server:
        assert (await server.get(path, UNLABELLED_POD)).status == 404


async def test_case_15_r12_a_local_zones_region_is_not_cut_out_of_its_name() -> None:
    """us-west-2-lax-1a lies in us-west-2."""
    async with metadata_server() as server:
        server.label_node("node-2", region="us-west-2", zone="us-west-2-lax-1a")

        assert (await server.get(REGION, UNLABELLED_POD)).text == "us-west-2"
        assert (await server.get(ZONE + "/", UNLABELLED_POD)).text == "us-west-2-lax-1a"


async def test_case_16_info_names_the_roles_account_and_has_no_message() -> None:
    """Terraform takes account and partition from the ARN; .NET takes a message for a failure."""
    async with metadata_server() as server:
        info = (await server.get(INFO)).json

        assert info == {
            "Code": "Success",
            "LastUpdated": "2026-11-21T08:00:00Z",
            "InstanceProfileArn": "arn:aws:iam::111122223333:instance-profile/team/orders",
            "InstanceProfileId": info["InstanceProfileId"],
        }
        assert info["InstanceProfileId"].startswith("AIPA")
        assert len(info["InstanceProfileId"]) == 21


@pytest.mark.parametrize("policy", list(TokenPolicy))
async def test_case_17_what_was_passed_on_gets_no_token(policy: TokenPolicy) -> None:
    """A proxy adds X-Forwarded-For."""
    async with metadata_server(MetadataServer(policy=policy)) as server:
        reply = await server.ask("PUT", TOKEN_PATH, X_Forwarded_For="10.1.2.3", **{TTL_HEADER: "60"})
        assert (reply.status, reply.body) == (403, b"")


async def test_case_17_what_was_passed_on_gets_nothing_without_a_token() -> None:
    """A proxying pod would give its own role away; with a token, which a proxy cannot get, it is served."""
    async with metadata_server() as server:
        assert (await server.get(ROLES, X_Forwarded_For="10.1.2.3")).status == 403
        assert (await server.get("/", X_Forwarded_For="")).status == 403
        headers = {TOKEN_HEADER: await server.token(), "X-Forwarded-For": "10.1.2.3"}
        assert (await server.get(ROLES, **headers)).status == 200


async def test_case_17_a_version_of_the_token_path_other_than_latest_is_403() -> None:
    """As EC2 does it, with and without a good time to live."""
    async with metadata_server() as server:
        assert (await server.ask("PUT", "/2021-03-23/api/token", **{TTL_HEADER: "60"})).status == 403
        assert (await server.ask("PUT", "/2021-03-23/api/token")).status == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS"])
async def test_case_17_other_methods_on_the_token_path_are_405(method: str) -> None:
    """With the methods that are allowed."""
    async with metadata_server() as server:
        reply = await server.ask(method, TOKEN_PATH)
        assert (reply.status, reply.headers["allow"], reply.body) == (405, "PUT", b"")


async def test_case_18_a_wrong_role_name_is_404_however_it_is_spelled() -> None:
    """No name, path trick or encoding leads to another pod's role."""
    names = [
        "billing",
        "team/billing",
        "../billing",
        "billing/",
        "orders/",
        "Orders",
        "orders%00",
        "%2e%2e",
        "orders%20",
    ]
    names += ["arn:aws:iam::111122223333:role/billing", "orders%2F..%2Fbilling", "orders%252F", "x" * 5000]
    async with metadata_server() as server:
        for name in names:
            reply = await server.get(ROLES + name)
            assert (reply.status, reply.body) == (404, b""), name


async def test_case_18_a_wrong_role_name_is_404_even_while_the_own_credentials_are_missing() -> None:
    """The own name is answered by closing the connection then."""
    async with metadata_server(MetadataServer(request_deadline=0.05)) as server:
        server.cluster.deliver(account("late", "arn:aws:iam::111122223333:role/late"))
        server.cluster.deliver(pod("late-1", "127.0.1.7", service_account="late"))

        assert (await server.get(ROLES + "orders", "127.0.1.7")).status == 404
        with pytest.raises(ConnectionError):
            await server.get(ROLES + "late", "127.0.1.7")


@pytest.mark.parametrize("path", [ROLES, ROLES + "orders", REGION, INFO, "/nothing"])
async def test_case_19_head_is_get_without_the_body(path: str) -> None:
    """The same status and headers."""
    async with metadata_server() as server:
        token = {TOKEN_HEADER: await server.token()}
        get, head = await server.get(path, **token), await server.ask("HEAD", path, **token)

        assert (head.status, head.body) == (get.status, b"")
        assert {**head.headers, "date": ""} == {**get.headers, "date": ""}


async def test_case_19_a_head_leaves_its_connection_usable() -> None:
    """Not a byte of the body is sent, or the next answer would begin with it."""
    async with metadata_server() as server:
        client = await server.connect()
        for _ in range(3):
            assert (await client.ask("HEAD", ROLES + "orders")).body == b""
            assert (await client.ask("GET", ROLES)).text == "orders"
        await client.close()


@pytest.mark.parametrize("version", ["1.0", "2009-04-04", "2021-07-15", "anything"])
async def test_case_19_every_version_is_the_latest(version: str) -> None:
    """Older tools pin one."""
    async with metadata_server() as server:
        assert (await server.get(f"/{version}/meta-data/iam/security-credentials/")).text == "orders"
        assert (await server.get(f"/{version}/dynamic/instance-identity/document")).status == 200


async def test_case_20_connections_are_kept_and_old_http_works() -> None:
    """HTTP/1.0 without a Host, then HTTP/1.1 with an odd one, with many requests on a connection."""
    async with metadata_server() as server:
        old = await server.connect()
        old.send(b"GET %b HTTP/1.0\r\n\r\n" % ROLES.encode())
        assert (await old.reply()).text == "orders"
        assert await old.rest() == b""
        await old.close()

        kept = await server.connect()
        for host in ("evil.example", "169.254.169.254:80", "[fd00:ec2::254]", ""):
            kept.send(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (ROLES.encode(), host.encode()))
            assert (await kept.reply()).text == "orders"
        await kept.close()


async def test_case_21_the_server_calls_itself_ec2ws_and_echoes_the_time_to_live() -> None:
    """Old tools look for EC2 in `Server`. The echo is there with a token only."""
    async with metadata_server() as server:
        token = await server.token(ttl=777)
        for path in (ROLES, ROLES + "orders", "/nothing"):
            reply = await server.get(path, **{TOKEN_HEADER: token})
            assert (reply.headers["server"], reply.headers[TTL_HEADER.lower()]) == ("EC2ws", "777")
        plain = await server.get(ROLES)
        assert plain.headers["server"] == "EC2ws"
        assert TTL_HEADER.lower() not in plain.headers


async def test_case_22_sixty_fetches_are_answered_from_what_is_in_hand() -> None:
    """Nobody waits for credentials, so nobody makes STS be asked."""
    async with metadata_server() as server:
        client = await server.connect()
        bodies = {(await client.ask("GET", ROLES + "orders")).body for _ in range(60)}
        await client.close()

        assert len(bodies) == 1
        assert server.credentials.demanded == []


async def test_case_23_a_token_is_worthless_at_another_address() -> None:
    """Stolen, or kept by a pod whose address changed."""
    async with metadata_server() as server:
        token = await server.token(POD)

        assert (await server.get(ROLES, OTHER_POD, **{TOKEN_HEADER: token})).status == 401
        assert server.sample("iam4kube_metadata_refusals_total", reason="token_wrong_signature") == 1


async def test_case_23_at_the_same_address_the_answer_is_the_present_holders() -> None:
    """A token says where it may be used, never who somebody is."""
    async with metadata_server() as server:
        token = {TOKEN_HEADER: await server.token(POD)}
        assert (await server.get(ROLES, **token)).text == "orders"
        server.cluster.deliver_deletion(pod("orders-1", POD))
        server.cluster.deliver(pod("billing-2", POD, service_account="billing"))

        assert (await server.get(ROLES, **token)).text == "billing"
        assert (await server.get(ROLES + "orders", **token)).status == 404


async def test_case_24_the_account_is_twelve_digits_and_there_is_no_role_arn() -> None:
    """s3fs fails on a `RoleArn`."""
    async with metadata_server() as server:
        document = (await server.get(ROLES + "orders")).json

        assert len(document["AccountId"]) == 12
        assert document["AccountId"].isdigit()
        assert "RoleArn" not in document


@pytest.mark.parametrize(
    "name", ["a+b", "a=b", "a,b", "a.b", "a@b", "a-b_c", "x" * 64, "_+=,.@-", string.digits, string.ascii_letters]
)
async def test_case_25_every_legal_role_name_can_be_asked_for(name: str) -> None:
    """As it stands, with the special characters encoded, and with all of them encoded in either case."""
    special = "".join(letter if letter.isalnum() else f"%{ord(letter):02x}" for letter in name)
    encoded = "".join(f"%{ord(letter):02X}" for letter in name)
    async with metadata_server(MetadataServer(role_name=name)) as server:
        assert (await server.get(ROLES)).text == name
        for spelling in (name, special, encoded):
            assert (await server.get(ROLES + spelling)).json["Code"] == "Success", spelling


async def test_r17_a_client_that_only_knows_tokens_gets_its_credentials() -> None:
    """PUT, list, get: the order in which every SDK asks."""
    async with metadata_server(MetadataServer(policy=TokenPolicy.REQUIRED)) as server:
        token = {TOKEN_HEADER: await server.token(ttl=300)}
        role = (await server.get(ROLES, **token)).text

        assert (await server.get(ROLES + role, **token)).json["AccessKeyId"] == "ASIAEXAMPLE"


async def test_r11_a_stranger_is_told_503_and_a_node_404() -> None:
    """Asked again, a stranger may be known; a node never has a role."""
    async with metadata_server(MetadataServer(request_deadline=0.02)) as server:
        assert (await server.get(ROLES, STRANGER)).status == 503
        assert (await server.get(ROLES, NODE)).status == 404


async def test_case_26_a_401_is_followed_by_success_with_a_new_token() -> None:
    """On the same connection."""
    async with metadata_server() as server:
        client = await server.connect()
        assert (await client.ask("GET", ROLES, **{TOKEN_HEADER: "stale"})).status == 401
        token = (await client.ask("PUT", TOKEN_PATH, **{TTL_HEADER: "60"})).text
        assert (await client.ask("GET", ROLES, **{TOKEN_HEADER: token})).status == 200
        await client.close()


async def test_case_28_expecting_to_continue_is_tolerated() -> None:
    """Both curl and s3fs send it, s3fs with nothing in it."""
    async with metadata_server() as server:
        for expectation in ("100-continue", ""):
            assert (await server.ask("PUT", TOKEN_PATH, Expect=expectation, **{TTL_HEADER: "60"})).status == 200


async def test_a_role_that_appears_while_a_request_waits_is_served() -> None:
    """The annotation arrives after the question, and the pod after that."""
    async with metadata_server() as server:
        asking = asyncio.create_task(server.get(ROLES, "127.0.1.20"))
        await wait_until(lambda: len(server.waiting) == 1)
        server.cluster.deliver(account("new", "arn:aws:iam::111122223333:role/new"))
        server.credentials.put(next(key for key in server.cluster.sink.held if key.session_name == "shop@new"))
        server.cluster.deliver(pod("new-1", "127.0.1.20", service_account="new"))

        assert (await asking).text == "new"
