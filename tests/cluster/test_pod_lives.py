"""Pods that end, move and come back on a real API server: an address is its holder's, and nobody else's."""

import pytest

from tests.support.metadata import ROLES
from tests.support.real_cluster import RealCluster, until_listed
from tests.support.world import role_arn

pytestmark = pytest.mark.cluster


async def test_a_terminating_pod_is_served_until_it_is_gone(permitted: RealCluster) -> None:
    """Its deletionTimestamp already contains the grace period, during which it needs credentials."""
    cluster, orders = permitted, permitted.address(1)
    await cluster.add_pod("orders", address=orders)
    async with cluster.replica("--request-deadline=1s") as replica:
        await cluster.delete_pod("orders", grace=30)
        await replica.until_metric('iam4kube_watch_events_total{resource="pods"}', 1)
        assert (await replica.credentials(orders))["Code"] == "Success"
        await cluster.delete_pod("orders")
        await until_listed(replica, orders, "", seconds=5)
        assert (await replica.ask("GET", ROLES, orders)).status == 503


async def test_an_address_goes_to_the_next_pod_with_the_next_role(permitted: RealCluster) -> None:
    """Also to one of the same name: only the UID tells that it is another."""
    cluster, address = permitted, permitted.address(1)
    await cluster.add_pod("orders", address=address)
    await cluster.add_account("billing", arn=role_arn("billing"))
    async with cluster.replica() as replica:
        assert (await replica.ask("GET", ROLES, address)).text == "orders"
        await cluster.delete_pod("orders")
        await cluster.run_pod("orders", address=address, account="billing")
        await until_listed(replica, address, "billing", seconds=5)
        assert (await replica.ask("GET", ROLES + "orders", address)).status == 404


async def test_after_a_reboot_an_address_is_void_until_its_pods_status_is_written_anew(permitted: RealCluster) -> None:
    """The node's new boot ID comes before anyone has said which pod has which address now."""
    cluster, orders = permitted, permitted.address(1)
    await cluster.add_pod("orders", address=orders)
    async with cluster.replica("--request-deadline=1s") as replica:
        assert (await replica.ask("GET", ROLES, orders)).text == "orders"
        await cluster.reboot_node()
        await until_listed(replica, orders, "", seconds=5)
        await cluster.restart_containers("orders", address=orders)
        await until_listed(replica, orders, "orders", seconds=5)
