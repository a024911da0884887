"""Every row of the table "who is asking", evaluated over what the watches have delivered."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from iam4kube.identity.accounts import RolePolicy
from iam4kube.identity.outcomes import (
    ConfirmAccount,
    ConfirmPods,
    Identified,
    Located,
    NoRole,
    Pending,
    Reason,
    Refused,
    Unavailable,
)
from iam4kube.kube.objects import Address, Pod
from tests.support.cluster import ROLE, Cluster, account, node, pod, wall

pytestmark = pytest.mark.looptime

ASKER = Address("10.0.0.7")


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A synced cluster of one node and one annotated ServiceAccount."""
    made = Cluster()
    made.sync()
    made.deliver(node("node-1", "192.168.0.1"), account())
    reads = asyncio.create_task(made.directory.confirmations.run())
    await asyncio.sleep(0)
    yield made
    reads.cancel()
    await asyncio.gather(reads, return_exceptions=True)


def who(cluster: Cluster, address: str = ASKER) -> object:
    """The chain's outcome: the name of the identified pod, or the outcome itself."""
    outcome = cluster.chain.evaluate(Address(address))
    return outcome.pod.name if isinstance(outcome, Identified) else outcome


async def confirmed(cluster: Cluster, address: str = ASKER) -> object:
    """The outcome once what the chain wants confirmed has been read."""
    outcome = cluster.chain.evaluate(Address(address))
    while isinstance(outcome, ConfirmPods | ConfirmAccount):
        assert await cluster.directory.confirmations.confirm(outcome)
        outcome = cluster.chain.evaluate(Address(address))
    return who(cluster, address)


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


async def test_region_and_zone_need_no_role_and_a_node_asks_for_itself(cluster: Cluster) -> None:
    """A node's own address is answered with that node's place."""
    asker = pod("orders-1", ASKER, service_account="unknown")
    cluster.deliver(asker)
    here = node("node-1", "192.168.0.1")
    assert cluster.chain.locate(ASKER) == Located(asker, here)
    assert cluster.chain.locate(Address("192.168.0.1")) == Located(None, here)


async def test_roles_are_held_while_a_service_account_names_them_and_their_pods_are_counted(cluster: Cluster) -> None:
    """What the prefetch works from: references by ServiceAccounts, use by unfinished pods."""
    cluster.deliver(pod("orders-1", ASKER), pod("orders-2", "10.0.0.8"))
    (key,) = cluster.sink.held
    assert (cluster.sink.held[key], cluster.sink.used[key]) == (1, 2)
    cluster.deliver(pod("orders-1", ASKER, finished=True))
    assert cluster.sink.used[key] == 1
    cluster.deliver_deletion(account())
    assert cluster.sink.held == {}
