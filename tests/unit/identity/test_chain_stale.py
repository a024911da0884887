"""A table that may be old: what is read live before an answer, and what is refused."""

import asyncio

import pytest

from iam4kube.identity.outcomes import ConfirmPods, NoRole, Pending, Reason, Refused, Unavailable
from tests.support.cluster import Cluster, account, pod
from tests.support.cluster_asking import ASKER, confirmed, who

pytestmark = pytest.mark.looptime


async def test_while_the_watch_is_silent_a_known_pod_is_confirmed_before_it_is_answered(cluster: Cluster) -> None:
    """90 s without an event or a bookmark: the table may be old."""
    asker = pod("orders-1", ASKER)
    cluster.deliver(asker)
    cluster.api.put(asker, account())
    cluster.watches.heard = 0.0
    await asyncio.sleep(90)
    assert who(cluster) == "orders-1"
    await asyncio.sleep(0.001)
    assert isinstance(who(cluster), ConfirmPods)
    assert await confirmed(cluster) == "orders-1"
    cluster.api.pods.clear()
    await asyncio.sleep(5)
    assert isinstance(await confirmed(cluster), Pending)


async def test_a_role_taken_away_while_the_watch_is_silent_is_not_given_out(cluster: Cluster) -> None:
    """The ServiceAccount is confirmed as well as the pod."""
    asker = pod("orders-1", ASKER)
    cluster.deliver(asker)
    cluster.api.put(asker, account(role_arn=None))
    cluster.watches.heard = -100.0
    assert await confirmed(cluster) == NoRole(Reason.NO_ANNOTATION, asker)


async def test_a_silent_watch_and_no_token_to_read_with_give_no_answer(cluster: Cluster) -> None:
    """Serving from a table that may be old, while the API server could be asked, would be a guess."""
    asker = pod("orders-1", ASKER)
    cluster.deliver(asker)
    cluster.api.put(asker, account())
    cluster.watches.heard = -100.0
    cluster.limiter.starved.add("shop")
    assert await confirmed(cluster) == Unavailable(Reason.UNCONFIRMED, asker)


async def test_while_the_api_server_is_down_known_pods_are_served_for_max_stale_and_not_longer(
    cluster: Cluster,
) -> None:
    """A replica cut off alone must not go on for ever from an old table."""
    asker = pod("orders-1", ASKER)
    cluster.deliver(asker)
    cluster.api.down = True
    cluster.watches.heard = 0.0
    await asyncio.sleep(900)
    assert await confirmed(cluster) == "orders-1"
    await asyncio.sleep(0.001)
    assert await confirmed(cluster) == Refused(Reason.STALE, asker)
    assert cluster.api.reads == ["pod shop/orders-1"]
    await asyncio.sleep(5)
    cluster.api.down = False
    cluster.api.put(asker, account())
    assert await confirmed(cluster) == "orders-1"
