"""The role of a pod that is known: its ServiceAccount's annotation, found, invalid or missing."""

import asyncio

import pytest

from iam4kube.identity.accounts import RolePolicy
from iam4kube.identity.outcomes import ConfirmAccount, NoRole, Pending, Reason
from tests.support.cluster import Cluster, account, pod
from tests.support.cluster_asking import ASKER, confirmed, who

pytestmark = pytest.mark.looptime


async def test_a_service_account_that_is_not_known_yet_is_waited_for(cluster: Cluster) -> None:
    """It may have been made a moment before the pod."""
    cluster.deliver(pod("orders-1", ASKER, service_account="late"))
    outcome = cluster.chain.evaluate(ASKER)
    assert isinstance(outcome, Pending)
    assert outcome.reason == Reason.UNKNOWN_SERVICE_ACCOUNT


async def test_a_static_pod_has_no_service_account_and_so_no_role_at_once(cluster: Cluster) -> None:
    """The kubelet's mirror of it names none: there is nothing to wait for."""
    asker = pod("proxy-node-1", ASKER, service_account="")
    cluster.deliver(asker)
    assert who(cluster) == NoRole(Reason.NO_SERVICE_ACCOUNT, asker)


async def test_an_annotation_set_a_moment_ago_is_found_by_a_live_read(cluster: Cluster) -> None:
    """The watch has not delivered it yet."""
    cluster.deliver(account(role_arn=None))
    asker = pod("orders-1", ASKER)
    cluster.deliver(asker)
    cluster.api.put(account())
    assert who(cluster) == ConfirmAccount("shop", "orders")
    assert await confirmed(cluster) == "orders-1"


async def test_no_role_is_confirmed_once_in_five_seconds(cluster: Cluster) -> None:
    """Most pods have no role: they must not load the API server."""
    cluster.deliver(account(role_arn=None))
    asker = pod("orders-1", ASKER)
    cluster.deliver(asker)
    cluster.api.put(account(role_arn=None))
    assert await confirmed(cluster) == NoRole(Reason.NO_ANNOTATION, asker)
    await asyncio.sleep(4.999)
    assert who(cluster) == NoRole(Reason.NO_ANNOTATION, asker)
    await asyncio.sleep(0.001)
    assert who(cluster) == ConfirmAccount("shop", "orders")


@pytest.mark.parametrize("trouble", ["down", "slow", "limited"])
async def test_pods_without_a_role_do_not_depend_on_the_api_server(cluster: Cluster, trouble: str) -> None:
    """No answer within 150 ms, or no token of the namespace's share: no role."""
    cluster.deliver(account(role_arn=None))
    asker = pod("orders-1", ASKER)
    cluster.deliver(asker)
    cluster.api.down = trouble == "down"
    cluster.api.delay = 10.0 if trouble == "slow" else 0.0
    if trouble == "limited":
        cluster.limiter.starved.add("shop")
    assert await confirmed(cluster) == NoRole(Reason.NO_ANNOTATION, asker)
    assert asyncio.get_running_loop().time() == (0.150 if trouble == "slow" else 0)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (account(role_arn="orders"), "'orders'"),
        (account(external_id="x"), "'x'"),
        (account(role_arn="arn:aws-cn:iam::111122223333:role/orders"), "'aws-cn'"),
        (account(role_arn="arn:aws:iam::111122223333:role/path/server"), "server's own role"),
    ],
    ids=["arn", "external id", "partition", "own role"],
)
async def test_r09_an_invalid_annotation_is_quoted_for_the_pod_s_owner(
    cluster: Cluster, bad: object, said: str
) -> None:
    """The reason reaches an event, not only a log."""
    cluster.directory.accounts.set_policy(RolePolicy(partition="aws", reserved=frozenset({("111122223333", "server")})))
    cluster.deliver(bad)  # type: ignore[arg-type]  # a ServiceAccount
    cluster.deliver(pod("orders-1", ASKER))
    outcome = who(cluster)
    assert isinstance(outcome, NoRole)
    assert outcome.reason == Reason.INVALID_ROLE
    assert said in outcome.detail


async def test_a_policy_known_late_counts_for_the_service_accounts_already_known(cluster: Cluster) -> None:
    """STS may be down at start: the server's own role is known when it answers."""
    cluster.deliver(pod("orders-1", ASKER))
    cluster.directory.accounts.set_policy(RolePolicy(reserved=frozenset({("111122223333", "orders")})))
    assert isinstance(who(cluster), NoRole)
    assert cluster.sink.held == {}


async def test_roles_are_held_while_a_service_account_names_them_and_their_pods_are_counted(cluster: Cluster) -> None:
    """What the prefetch works from: references by ServiceAccounts, use by unfinished pods."""
    cluster.deliver(pod("orders-1", ASKER), pod("orders-2", "10.0.0.8"))
    (key,) = cluster.sink.held
    assert (cluster.sink.held[key], cluster.sink.used[key]) == (1, 2)
    cluster.deliver(pod("orders-1", ASKER, finished=True))
    assert cluster.sink.used[key] == 1
    cluster.deliver_deletion(account())
    assert cluster.sink.held == {}
