"""The whole server in a process of its own, against a Kubernetes API and an STS on loopback."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from iam4kube.sandbox.sts import SERVER_ROLE
from tests.support.metadata import ROLES, TOKEN_PATH, TTL_HEADER
from tests.support.waiting import wait_until
from tests.support.world import NODE, World, role_arn

POD = "127.0.1.1"
OTHER_POD = "127.0.1.2"


async def test_each_pod_gets_credentials_of_its_own_role(world: World) -> None:
    """Token, role list, credentials: each pod sees its own role only, and STS was asked under its own session name."""
    world.add_pod(POD, role="orders", name="orders")
    world.add_pod(OTHER_POD, role="billing", name="billing", namespace="finance")
    async with world.replica() as replica:
        orders = await replica.credentials(POD)
        billing = await replica.credentials(OTHER_POD)
        assert (await replica.ask("GET", ROLES + "orders", OTHER_POD)).status == 404
    assert orders["Code"] == billing["Code"] == "Success"
    assert orders["AccessKeyId"] != billing["AccessKeyId"]
    sessions = {call.role_arn: call.session_name for call in world.sts.calls if call.action == "AssumeRole"}
    assert sessions == {role_arn("orders"): "shop@orders", role_arn("billing"): "finance@billing"}


async def test_a_pod_that_asks_before_its_address_is_known_is_answered_when_it_is(world: World) -> None:
    """No poll, no error: the request waits for the watch."""
    world.annotate("orders", role="orders")
    async with world.replica() as replica:
        asking = asyncio.create_task(replica.ask("GET", ROLES, POD))
        await asyncio.sleep(0.2)
        assert not asking.done()
        world.run_pod(POD, name="orders")
        async with asyncio.timeout(1):
            assert (await asking).text == "orders"


async def test_case_09_every_answer_has_25_minutes_and_more_left(world: World) -> None:
    """The whole way: STS, prefetcher, document."""
    world.add_pod(POD, role="orders", name="orders")
    async with world.replica() as replica:
        document = await replica.credentials(POD)
    left = datetime.fromisoformat(document["Expiration"]) - datetime.now(UTC)
    assert timedelta(minutes=25) <= left <= timedelta(minutes=61)


async def test_case_22_sixty_fetches_cost_sts_nothing(world: World) -> None:
    """The role was fetched once, before anybody asked; a pod that asks in a loop asks the cache."""
    world.add_pod(POD, role="orders", name="orders")
    async with world.replica() as replica:
        await replica.credentials(POD)
        for _ in range(60):
            assert (await replica.ask("GET", ROLES + "orders", POD)).status == 200
    assert world.sts.count(role_arn("orders"), action="AssumeRole") == 1


async def test_where_a_pod_runs_is_its_own_nodes_place(world: World) -> None:
    """Region and zone need no role, and a node's own address gets no role at all."""
    world.add_pod(POD, role=None, name="plain")
    async with world.replica() as replica:
        zone = await replica.ask("GET", "/latest/meta-data/placement/availability-zone", POD)
        assert (zone.status, zone.text) == (200, "eu-central-1a")
        assert (await replica.ask("GET", ROLES, NODE)).status == 404


async def test_events_tell_each_pods_owner_what_it_got(world: World) -> None:
    """Found, refused by STS, not annotated, wrongly annotated: each has its reason on the pod itself."""
    world.sts.trust.deny(role_arn("refused"))
    world.add_pod(POD, role="orders", name="orders")
    world.add_pod("127.0.1.3", role="refused", name="refused")
    world.add_pod("127.0.1.4", role=None, name="plain")
    world.add_pod("127.0.1.5", role="bad name", name="misspelt")
    async with world.replica() as replica:
        await replica.credentials(POD)
        for source in ("127.0.1.3", "127.0.1.4", "127.0.1.5"):
            assert (await replica.ask("GET", ROLES, source)).status == 404
        await wait_until(lambda: len(world.kubernetes.list("events")) >= 5)
    told = {name: world.events(name) for name in ("orders", "refused", "plain", "misspelt")}
    assert {reason for _, reason, _ in told["orders"]} == {"CredentialsFound", "RoleFound"}
    assert [(kind, reason) for kind, reason, _ in told["refused"]] == [("Warning", "NoCredentials")]
    assert "not authorized to perform: sts:AssumeRole" in told["refused"][0][2]
    assert [(kind, reason) for kind, reason, _ in told["plain"]] == [("Warning", "NoRole")]
    assert [(kind, reason) for kind, reason, _ in told["misspelt"]] == [("Warning", "InvalidRole")]
    assert "bad name" in told["misspelt"][0][2]


@pytest.mark.parametrize("arn", [SERVER_ROLE, role_arn("iam4kube-pods")])
async def test_no_pod_gets_a_role_of_the_server(world: World, arn: str) -> None:
    """Neither the role it runs as nor the one of --assume-role-arn may be named by a ServiceAccount."""
    world.annotate("greedy", arn=arn)
    world.run_pod(POD, name="greedy")
    flags = [] if arn == SERVER_ROLE else [f"--assume-role-arn={arn}"]
    async with world.replica(*flags) as replica:
        await replica.until(lambda: "The server's own role is known" in replica.messages)
        assert (await replica.ask("GET", ROLES, POD)).status == 404
        await wait_until(lambda: bool(world.events("greedy")))
    [(_, reason, message)] = world.events("greedy")
    assert reason == "InvalidRole"
    assert "credential server's own role" in message


async def test_with_a_role_in_between_pods_roles_are_assumed_by_it(world: World) -> None:
    """The server assumes --assume-role-arn once, and that session assumes the pod's role."""
    world.add_pod(POD, role="orders", name="orders")
    async with world.replica(f"--assume-role-arn={role_arn('iam4kube-pods')}") as replica:
        assert (await replica.credentials(POD))["Code"] == "Success"
    assert world.sts.count(role_arn("iam4kube-pods")) == 1
    assert world.sts.count(role_arn("orders")) == 1


async def test_tokens_are_issued_while_nothing_else_works(world: World) -> None:
    """Neither Kubernetes nor STS is needed for a token."""
    await world.kubernetes.stop()
    await world.sts.stop()
    async with world.replica(ready=False) as replica:
        async with asyncio.timeout(1):
            answered = await replica.ask("PUT", TOKEN_PATH, POD, **{TTL_HEADER: "60"})
        assert answered.status == 200
