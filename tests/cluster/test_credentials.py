"""Server, boto3 and a real API server with RBAC: who gets what, and what the pods' owners are told."""

import asyncio

import pytest

from iam4kube.sandbox.sts import SERVER_ROLE
from tests.support.boto3_client import caller_identity
from tests.support.metadata import ROLES
from tests.support.real_cluster import RealCluster, until_listed
from tests.support.waiting import eventually
from tests.support.world import role_arn

pytestmark = pytest.mark.cluster


def found(times: int = 1) -> list[tuple[str, str, int]]:
    """The events on a pod that got credentials."""
    return [("Normal", "CredentialsFound", times), ("Normal", "RoleFound", times)]


async def told(cluster: RealCluster, pod: str) -> list[tuple[str, str, int]]:
    """Type, reason and count of the events on a pod."""
    return sorted((event.type, event.reason, event.times) for event in await cluster.events(pod))


async def until_told(cluster: RealCluster, pod: str, expected: list[tuple[str, str, int]]) -> None:
    """Wait for events on a pod. Fails with what there is instead."""

    async def is_told() -> bool:
        return await told(cluster, pod) == expected

    try:
        await eventually(is_told, seconds=10)
    except TimeoutError:
        assert await told(cluster, pod) == expected


async def test_boto3_in_pods_of_two_namespaces_is_who_its_service_account_says(permitted: RealCluster) -> None:
    """`sts:GetCallerIdentity` names the role and the session of the pod's own namespace and ServiceAccount."""
    cluster, orders, billing = permitted, permitted.address(1), permitted.address(2)
    await cluster.add_pod("orders", address=orders)
    await cluster.add_pod("billing", address=billing, namespace=cluster.finance)
    async with cluster.replica() as replica:
        port = replica.ports.metadata
        assert await caller_identity(orders, port=port, sts=cluster.sts) == {"arn": cluster.arn("orders")}
        theirs = {"arn": cluster.arn("billing", namespace=cluster.finance)}
        assert await caller_identity(billing, port=port, sts=cluster.sts) == theirs
        assert (await replica.ask("GET", ROLES, cluster.node_address)).status == 404


async def test_a_pod_is_answered_the_moment_the_api_server_tells_its_address(permitted: RealCluster) -> None:
    """The request waits for the pod's status, and the pod asks only once."""
    cluster, orders = permitted, permitted.address(1)
    await cluster.add_account("orders", arn=role_arn("orders"))
    async with cluster.replica() as replica:
        asking = asyncio.create_task(replica.ask("GET", ROLES, orders))
        await replica.until_metric("iam4kube_metadata_waiting_requests", 1)
        await cluster.run_pod("orders", address=orders)
        async with asyncio.timeout(1):
            assert (await asking).text == "orders"


async def test_events_on_the_pods_tell_what_they_got_and_why(permitted: RealCluster) -> None:
    """Found, not annotated, wrongly annotated, the server's own role, refused by STS: on each pod its own."""
    cluster = permitted
    cluster.sts.trust.deny(role_arn("refused"))
    await cluster.add_pod("orders", address=cluster.address(1))
    await cluster.add_account("plain")
    await cluster.add_account("misspelt", arn="arn:aws:iam::1234:role/short")
    await cluster.add_account("greedy", arn=SERVER_ROLE)
    await cluster.add_account("refused", arn=role_arn("refused"))
    without_role = {name: cluster.address(2 + i) for i, name in enumerate(("plain", "misspelt", "greedy", "refused"))}
    for name, address in without_role.items():
        await cluster.run_pod(name, address=address)

    async with cluster.replica() as replica:
        await replica.until(lambda: "The server's own role is known" in replica.messages)
        assert (await replica.credentials(cluster.address(1)))["Code"] == "Success"
        for address in without_role.values():
            assert (await replica.ask("GET", ROLES, address)).status == 404
        await until_told(cluster, "orders", found())
        await until_told(cluster, "plain", [("Warning", "NoRole", 1)])
        await until_told(cluster, "misspelt", [("Warning", "InvalidRole", 1)])
        await until_told(cluster, "greedy", [("Warning", "InvalidRole", 1)])
        await until_told(cluster, "refused", [("Warning", "NoCredentials", 1)])
        assert await replica.metric('iam4kube_identity_confirmations_total{kind="service_account",result="found"}') == 1

    [misspelt], [refused] = await cluster.events("misspelt"), await cluster.events("refused")
    assert "arn:aws:iam::1234:role/short" in misspelt.message
    assert "is not authorized to perform: sts:AssumeRole" in refused.message


async def test_what_happens_again_is_counted_in_the_same_event(permitted: RealCluster) -> None:
    """An annotation that comes, goes and comes back: the pod follows, and the second time is in the first's events."""
    cluster, orders = permitted, permitted.address(1)
    await cluster.add_account("orders")
    await cluster.run_pod("orders", address=orders)
    async with cluster.replica() as replica:
        for times in (1, 2):
            await cluster.annotate("orders", arn=None)
            await until_listed(replica, orders, "", seconds=2)
            await cluster.annotate("orders", arn=role_arn("orders"))
            await until_listed(replica, orders, "orders", seconds=2)
            await until_told(cluster, "orders", [*found(times), ("Warning", "NoRole", times)])


async def test_two_pods_that_claim_one_address_get_nothing(permitted: RealCluster) -> None:
    """Each of them is read live, and since both are there neither is guessed."""
    cluster, address = permitted, permitted.address(1)
    await cluster.add_pod("orders", address=address)
    await cluster.add_pod("billing", address=address)
    async with cluster.replica() as replica:
        assert (await replica.ask("GET", ROLES, address)).status == 503
        assert await replica.metric('iam4kube_identity_confirmations_total{kind="pod",result="found"}') == 2
        await cluster.delete_pod("billing")
        assert (await replica.ask("GET", ROLES, address)).text == "orders"
