"""Whose an address is: pods, nodes and reboots, evaluated over what the watches have delivered."""

import asyncio

import pytest

from iam4kube.identity.outcomes import Identified, Located, Pending, Reason, Refused
from iam4kube.kube.objects import Address, Pod
from tests.support.cluster import ROLE, Cluster, account, node, pod, wall
from tests.support.cluster_asking import ASKER, who

pytestmark = pytest.mark.looptime


async def test_nobody_is_told_apart_before_every_watch_has_delivered_its_first_list() -> None:
    """A pod of the first page may have lost its address to a pod of the second."""
    cluster = Cluster()
    cluster.deliver(node(), account(), pod("orders-1", ASKER))
    cluster.directory.pod_feed.synced()
    cluster.directory.node_feed.synced()
    assert who(cluster) == Pending(Reason.NOT_SYNCED, (("sync",),))
    cluster.directory.account_feed.synced()
    assert who(cluster) == "orders-1"


async def test_a_pod_is_identified_by_its_address(cluster: Cluster) -> None:
    """The whole chain: address, pod, node, ServiceAccount, role, and the session of that ServiceAccount."""
    cluster.deliver(pod("orders-1", ASKER))
    outcome = cluster.chain.evaluate(ASKER)
    assert isinstance(outcome, Identified)
    assert (outcome.key.arn, outcome.key.session_name) == (ROLE, "shop@orders")


async def test_r08_a_pod_is_found_by_each_of_its_addresses(cluster: Cluster) -> None:
    """Dual-stack: the second family counts as much as the first."""
    cluster.deliver(pod("orders-1", ASKER, "2001:db8::7"))
    assert who(cluster, "2001:db8::7") == who(cluster, ASKER) == "orders-1"


async def test_r07_a_node_s_address_is_refused_at_once_even_if_a_pod_claims_it(cluster: Cluster) -> None:
    """HostNetwork pods, host processes and masqueraded traffic cannot be told apart."""
    cluster.deliver(pod("orders-1", "192.168.0.1"))
    assert who(cluster, "192.168.0.1") == Refused(Reason.NODE_ADDRESS)


async def test_r07_an_address_of_a_host_network_pod_is_refused_where_the_node_does_not_list_it(
    cluster: Cluster,
) -> None:
    """A node may have more addresses than its object names."""
    agent = pod("agent-1", "192.168.0.99", host_network=True)
    cluster.deliver(agent)
    assert who(cluster, "192.168.0.99") == Refused(Reason.NODE_ADDRESS, agent)


async def test_an_unknown_address_is_waited_for(cluster: Cluster) -> None:
    """The kubelet writes the address after the CNI has given it."""
    assert who(cluster) == Pending(Reason.UNKNOWN_ADDRESS, (("address", ASKER),))


async def test_a_finished_pod_is_not_a_candidate(cluster: Cluster) -> None:
    """Its address may belong to another pod already."""
    cluster.deliver(pod("orders-1", ASKER, finished=True))
    assert isinstance(who(cluster), Pending)


async def test_r06_a_terminating_pod_is_served_until_its_deletion_time_and_five_seconds(cluster: Cluster) -> None:
    """Graceful shutdown needs credentials; an object stuck for days must not keep its address."""
    cluster.deliver(pod("orders-1", ASKER, deletion=wall(30)))
    await asyncio.sleep(35)
    assert who(cluster) == "orders-1"
    await asyncio.sleep(0.001)
    assert isinstance(who(cluster), Pending)


async def test_pods_of_a_deleted_node_are_not_candidates(cluster: Cluster) -> None:
    """The instance is gone; its addresses are free to be given away."""
    cluster.deliver(pod("orders-1", ASKER))
    cluster.deliver_deletion(node("node-1", "192.168.0.1"))
    outcome = cluster.chain.evaluate(ASKER)
    assert isinstance(outcome, Pending)
    assert outcome.reason is Reason.UNKNOWN_ADDRESS


@pytest.mark.parametrize("older", [(), (pod("orders-0", ASKER, node="node-2"),)], ids=["alone", "with an older claim"])
async def test_a_pod_whose_node_comes_back_is_answered_then(cluster: Cluster, older: tuple[Pod, ...]) -> None:
    """A node's object deleted by mistake is made anew by its kubelet, and its pods' objects never change."""
    cluster.deliver(node("node-2"), *older, pod("orders-1", ASKER))
    cluster.deliver(node("node-2", ready=False))
    cluster.deliver_deletion(node("node-1", "192.168.0.1"))
    outcome = cluster.chain.evaluate(ASKER)
    assert isinstance(outcome, Pending)
    waiting = asyncio.create_task(cluster.waits.wait(outcome.on))
    await asyncio.sleep(0)
    cluster.deliver(node("node-1", "192.168.0.1"))
    async with asyncio.timeout(0.001):
        await waiting
    assert who(cluster) == "orders-1"


async def test_a_node_that_is_not_seen_yet_is_waited_for(cluster: Cluster) -> None:
    """The watches are not ordered among themselves."""
    cluster.deliver(pod("orders-1", ASKER, node="node-2"))
    outcome = cluster.chain.evaluate(ASKER)
    assert isinstance(outcome, Pending)
    assert (outcome.reason, ("node", "node-2") in outcome.on) == (Reason.UNKNOWN_NODE, True)
    cluster.deliver(node("node-2"))
    assert who(cluster) == "orders-1"


async def test_after_a_reboot_a_pod_s_address_is_void_until_its_status_is_written_again(cluster: Cluster) -> None:
    """The CNI starts afresh: the address may be another pod's."""
    cluster.deliver(pod("orders-1", ASKER, status_mark=1))
    cluster.deliver(node("node-1", "192.168.0.1", boot_id="boot-2"))
    assert isinstance(who(cluster), Pending)
    cluster.deliver(pod("orders-1", ASKER, status_mark=1, deletion=wall(1000)))  # a write, but not by the kubelet
    assert isinstance(who(cluster), Pending)
    cluster.deliver(pod("orders-1", ASKER, status_mark=2))
    assert who(cluster) == "orders-1"


async def test_a_status_that_came_before_its_nodes_reboot_is_refused_and_says_why(cluster: Cluster) -> None:
    """After a time without the API server pods may be heard of first: an old status cannot be told from a new one."""
    cluster.deliver(pod("orders-1", ASKER, status_mark=2))
    cluster.deliver(node("node-1", "192.168.0.1", boot_id="boot-2"))
    assert who(cluster) == Pending(Reason.NODE_REBOOTED, (("address", ASKER), ("node", "node-1")))
    cluster.deliver(pod("orders-1", ASKER, status_mark=3))
    assert who(cluster) == "orders-1"


async def test_a_pod_made_after_a_reboot_is_served_and_void_after_the_next(cluster: Cluster) -> None:
    """Each status counts under the boot in which it was written."""
    cluster.deliver(node("node-1", "192.168.0.1", boot_id="boot-2"))
    cluster.deliver(pod("orders-1", ASKER))
    assert who(cluster) == "orders-1"
    cluster.deliver(node("node-1", "192.168.0.1", boot_id="boot-3"))
    assert isinstance(who(cluster), Pending)


async def test_a_node_deleted_and_made_anew_after_a_reboot_voids_the_addresses_of_its_old_pods(
    cluster: Cluster,
) -> None:
    """The boot under which a pod was seen outlives its node's object."""
    cluster.deliver(pod("orders-1", ASKER))
    cluster.deliver_deletion(node("node-1", "192.168.0.1"))
    cluster.deliver(node("node-1", "192.168.0.1", boot_id="boot-2"))
    assert isinstance(who(cluster), Pending)


async def test_region_and_zone_need_no_role_and_a_node_asks_for_itself(cluster: Cluster) -> None:
    """A node's own address is answered with that node's place."""
    asker = pod("orders-1", ASKER, service_account="unknown")
    cluster.deliver(asker)
    here = node("node-1", "192.168.0.1")
    assert cluster.chain.locate(ASKER) == Located(asker, here)
    assert cluster.chain.locate(Address("192.168.0.1")) == Located(None, here)
