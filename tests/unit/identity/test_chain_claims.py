"""Two pods that claim one address: which of them is believed, and when neither."""

import asyncio

import pytest

from iam4kube.identity.outcomes import ConfirmPods, Pending, Reason, Unavailable
from tests.support.cluster import Cluster, node, pod, wall
from tests.support.cluster_asking import ASKER, confirmed, who

pytestmark = pytest.mark.looptime


async def test_of_two_claims_the_one_that_is_not_terminating_holds(cluster: Cluster) -> None:
    """The terminating one has lost its address already."""
    cluster.deliver(pod("orders-1", ASKER, deletion=wall(600)), pod("orders-2", ASKER))
    assert who(cluster) == "orders-2"


async def test_of_two_claims_the_one_on_a_ready_node_holds(cluster: Cluster) -> None:
    """A lost node's pods stay in the API for minutes."""
    cluster.deliver(node("node-2", ready=False), pod("orders-1", ASKER, node="node-2"), pod("orders-2", ASKER))
    assert who(cluster) == "orders-2"


async def test_a_running_pod_of_a_silent_node_does_not_beat_a_terminating_one_of_a_ready_node(cluster: Cluster) -> None:
    """Neither is better in everything: both are read, and if that settles nothing, nobody is answered."""
    lost, ending = pod("orders-1", ASKER, node="node-2"), pod("orders-2", ASKER, deletion=wall(600))
    cluster.deliver(node("node-2", ready=False), lost, ending)
    cluster.api.put(lost, ending)
    assert isinstance(who(cluster), ConfirmPods)
    assert await confirmed(cluster) == Unavailable(Reason.AMBIGUOUS)


async def test_a_pod_that_stays_does_not_beat_a_terminating_one_whose_claim_is_newer(cluster: Cluster) -> None:
    """It may have completed, its address given on, and its kubelet be late in saying so."""
    older, newer = pod("orders-1", ASKER), pod("orders-2", ASKER, deletion=wall(600))
    cluster.deliver(older, newer)
    cluster.api.put(older, newer)
    assert await confirmed(cluster) == Unavailable(Reason.AMBIGUOUS)
    cluster.deliver(pod("orders-1", ASKER, status_mark=1))  # its kubelet has written again: it holds the address
    assert who(cluster) == "orders-1"


async def test_an_older_claim_does_not_come_back_when_a_newer_one_becomes_void(cluster: Cluster) -> None:
    """The newer claim is proof that the older one's pod had lost the address."""
    cluster.deliver(node("node-2"), pod("orders-1", ASKER), pod("orders-2", ASKER, node="node-2"))
    cluster.deliver(node("node-2", boot_id="boot-2"))
    assert isinstance(who(cluster), Pending)
    cluster.deliver(pod("orders-2", ASKER, node="node-2", status_mark=1), pod("orders-1", ASKER, finished=True))
    assert who(cluster) == "orders-2"


async def test_of_two_claims_from_one_list_not_terminating_alone_settles_nothing(cluster: Cluster) -> None:
    """A list is in no order of time: which claim is the newer one is not known."""
    claims = pod("orders-1", ASKER, deletion=wall(600)), pod("orders-2", ASKER)
    cluster.watches.listing = True
    cluster.deliver(*claims)
    cluster.watches.listing = False
    cluster.api.put(*claims)
    assert await confirmed(cluster) == Unavailable(Reason.AMBIGUOUS)
    cluster.deliver(pod("orders-1", ASKER, finished=True))
    assert who(cluster) == "orders-2"


async def test_two_equal_claims_are_settled_by_reading_both(cluster: Cluster) -> None:
    """The watch is behind: one of them is gone in truth."""
    cluster.deliver(pod("orders-1", ASKER), pod("orders-2", ASKER))
    cluster.api.put(pod("orders-2", ASKER))
    assert await confirmed(cluster) == "orders-2"


async def test_two_equal_claims_that_both_stand_are_refused(cluster: Cluster) -> None:
    """Never guess."""
    claims = pod("orders-1", ASKER), pod("orders-2", ASKER)
    cluster.deliver(*claims)
    cluster.api.put(*claims)
    assert await confirmed(cluster) == Unavailable(Reason.AMBIGUOUS)


async def test_two_equal_claims_are_refused_at_once_while_the_api_server_is_down(cluster: Cluster) -> None:
    """One failure, and nobody waits for it."""
    cluster.deliver(pod("orders-1", ASKER), pod("orders-2", ASKER))
    cluster.api.down = True
    assert await confirmed(cluster) == Unavailable(Reason.AMBIGUOUS)
    assert len(cluster.api.reads) == 2


async def test_a_read_that_the_watch_has_overtaken_is_not_believed(cluster: Cluster) -> None:
    """The answer to a live read was true when it was read; the watch has said something newer since."""
    cluster.deliver(pod("orders-1", ASKER), pod("orders-2", ASKER))
    cluster.api.put(pod("orders-1", ASKER), pod("orders-2", ASKER))
    cluster.api.delay = 0.1
    outcome = cluster.chain.evaluate(ASKER)
    assert isinstance(outcome, ConfirmPods)
    reading = asyncio.create_task(cluster.directory.confirmations.confirm(outcome))
    await asyncio.sleep(0.05)
    cluster.deliver(pod("orders-1", "10.0.0.8", status_mark=1))
    await reading
    assert who(cluster) == "orders-2"
    assert who(cluster, "10.0.0.8") == "orders-1"
