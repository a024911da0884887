"""What a real API server does to the server: dies, forgets its history, no longer knows a token. Pods go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from iam4kube.sandbox.pods import LoopbackPod
from tests.support.boto3_client import asking
from tests.support.metadata import ROLES
from tests.support.real_cluster import RealCluster, until_listed
from tests.support.waiting import eventually

pytestmark = pytest.mark.cluster

NOWHERE = ("127.0.0.1", 1)


@asynccontextmanager
async def severable(cluster: RealCluster, *, lifetime: float = 3600.0) -> AsyncIterator[LoopbackPod]:
    """A forwarder between replicas and the API server: `server` is where it leads, `cut` ends what is under way.

    The kubeconfig leads to it, with a token that is valid for so many seconds.
    """
    async with LoopbackPod("127.0.0.1", server=("127.0.0.1", cluster.control_plane.port)) as link:
        cluster.port = int(link.endpoint.rpartition(":")[2])
        await cluster.write_kubeconfig(lifetime=lifetime)
        yield link


async def test_credentials_are_served_while_the_api_server_is_killed_and_restarted(permitted: RealCluster) -> None:
    """An SDK that asks all the time notices nothing; afterwards a new pod is answered, and a new replica gets ready."""
    cluster, orders, late = permitted, permitted.address(1), permitted.address(2)
    await cluster.add_pod("orders", address=orders)
    async with (
        cluster.replica() as replica,
        asking(orders, port=replica.ports.metadata, sts=cluster.sts) as sdk,
        AsyncExitStack() as stack,
    ):
        async with cluster.without_api_server():
            await replica.until(lambda: replica.logged("List or watch failed", verb="watch"))
            await sdk.more()
            assert (await replica.admin("/readyz")).status == 200
            begun = await stack.enter_async_context(cluster.replica(ready=False))
        await cluster.add_pod("late", address=late)
        await until_listed(replica, late, "late")
        await eventually(lambda: cluster.events("late"))
        await begun.become_ready()
        assert (await begun.credentials(late))["Code"] == "Success"
        await sdk.more()
        assert sdk.distinct == [{"arn": cluster.arn("orders")}]


async def test_after_a_compaction_it_lists_anew_and_forgets_who_went_meanwhile(permitted: RealCluster) -> None:
    """The version that its watches had reached is gone (410): what happened behind their back comes from a list."""
    cluster = permitted
    orders, gone, new = (cluster.address(index) for index in (1, 2, 3))
    await cluster.add_pod("orders", address=orders)
    await cluster.add_pod("gone", address=gone)
    async with (
        severable(cluster) as link,
        cluster.replica("--request-deadline=2s") as replica,
        asking(orders, port=replica.ports.metadata, sts=cluster.sts) as sdk,
    ):
        assert (await replica.ask("GET", ROLES, gone)).text == "gone"
        link.server = NOWHERE
        await asyncio.to_thread(cluster.control_plane.forget_history)
        await cluster.delete_pod("gone")
        await cluster.add_pod("new", address=new)
        await sdk.more()
        link.server = ("127.0.0.1", cluster.control_plane.port)
        await until_listed(replica, new, "new")
        assert (await replica.ask("GET", ROLES, gone)).status == 503
        await sdk.more()
        assert sdk.distinct == [{"arn": cluster.arn("orders")}]
        assert await replica.metric('iam4kube_watch_failures_total{reason="expired",resource="pods"}') >= 1
        assert await replica.metric('iam4kube_watch_list_seconds_count{resource="pods"}') == 2


async def test_an_expired_token_is_replaced_by_the_one_that_the_kubeconfig_has_by_then(permitted: RealCluster) -> None:
    """First there is no other, and every answer is 401: pods are served all the same. Then all goes on by itself."""
    cluster, orders, late = permitted, permitted.address(1), permitted.address(2)
    await cluster.add_pod("orders", address=orders)
    async with (
        severable(cluster, lifetime=12.0) as link,
        cluster.replica() as replica,
        asking(orders, port=replica.ports.metadata, sts=cluster.sts) as sdk,
    ):
        await eventually(cluster.token_is_refused, seconds=30)
        link.cut()  # a watch that is open goes on with the token it began with
        await eventually(lambda: replica.metric('iam4kube_watch_failures_total{reason="unauthorized",resource="pods"}'))
        await sdk.more()
        await cluster.write_kubeconfig()
        await cluster.add_pod("late", address=late)
        await until_listed(replica, late, "late")
        assert "Kubernetes configuration reloaded" in replica.messages
        await eventually(lambda: cluster.events("late"))
        await sdk.more()
        assert sdk.distinct == [{"arn": cluster.arn("orders")}]
