"""The permissions of docs/permissions.md, one by one: a missing one is named, and none is superfluous.

The other tests of this folder run with exactly these, so one that the page forgot fails them.
"""

import pytest

from tests.support.metadata import ROLES
from tests.support.real_cluster import RealCluster, until_listed
from tests.support.world import ReplicaProcess, role_arn

pytestmark = pytest.mark.cluster

MISSING = "Permission missing: grant this verb on this resource in a Role or ClusterRole"
EVENTS_REFUSED = "Events are refused: check that a Role or ClusterRole grants create and patch on events"
watched = pytest.mark.parametrize("resource", ["pods", "serviceaccounts", "nodes"])


def says(replica: ReplicaProcess, text: str) -> bool:
    """Whether an error that was logged has this in it."""
    return any(text in entry.get("error", "") for entry in replica.log)


@watched
async def test_without_list_it_is_not_ready_says_why_and_goes_on_once_it_is_granted(
    cluster: RealCluster, resource: str
) -> None:
    """Verb and resource are in the log and on /readyz, and no restart is needed."""
    await cluster.grant(without=("list", resource))
    await cluster.add_pod("orders", address=cluster.address(1))
    async with cluster.replica(ready=False) as replica:
        await replica.until(lambda: replica.logged(MISSING, verb="list", resource=resource, api_group=""))
        answered = await replica.admin("/readyz")
        assert answered.status == 503
        [line] = [line for line in answered.json["missing"] if line.startswith(resource)]
        assert f'cannot list resource "{resource}"' in line
        await cluster.grant_all()
        await replica.become_ready()
        assert (await replica.credentials(cluster.address(1)))["Code"] == "Success"


@watched
async def test_without_watch_it_serves_what_it_listed_and_says_what_is_missing(
    cluster: RealCluster, resource: str
) -> None:
    """The list answers for what was there at start; /readyz and the log name what keeps the rest from coming."""
    await cluster.grant(without=("watch", resource))
    await cluster.add_pod("orders", address=cluster.address(1))
    async with cluster.replica() as replica:
        await replica.until(lambda: replica.logged(MISSING, verb="watch", resource=resource))
        assert (await replica.credentials(cluster.address(1)))["Code"] == "Success"
        report = (await replica.admin("/readyz")).json
        assert f'cannot watch resource "{resource}"' in report["watches"][resource]["problem"]


async def test_without_get_a_live_read_says_what_is_missing_and_the_pod_has_no_role(cluster: RealCluster) -> None:
    """A pod without an annotation is answered all the same."""
    await cluster.grant(without=("get", "serviceaccounts"))
    await cluster.add_account("plain")
    await cluster.run_pod("plain", address=cluster.address(1))
    async with cluster.replica() as replica:
        assert (await replica.ask("GET", ROLES, cluster.address(1))).status == 404
        await replica.until(lambda: says(replica, 'cannot get resource "serviceaccounts"'))


async def test_without_get_two_claims_are_not_settled_and_the_log_says_what_is_missing(cluster: RealCluster) -> None:
    """Neither of two pods at one address is guessed."""
    await cluster.grant(without=("get", "pods"))
    for name in ("orders", "billing"):
        await cluster.add_pod(name, address=cluster.address(1))
    async with cluster.replica() as replica:
        assert (await replica.ask("GET", ROLES, cluster.address(1))).status == 503
        await replica.until(lambda: says(replica, 'cannot get resource "pods"'))


async def test_without_create_on_events_everything_but_events_works(cluster: RealCluster) -> None:
    """One line of the log says which verbs are needed, however many events there are."""
    await cluster.grant(without=("create", "events"))
    await cluster.add_pod("orders", address=cluster.address(1))
    async with cluster.replica() as replica:
        assert (await replica.credentials(cluster.address(1)))["Code"] == "Success"
        await replica.until_metric('iam4kube_events_total{outcome="refused"}', 2)
    assert replica.messages.count(EVENTS_REFUSED) == 1
    assert says(replica, 'cannot create resource "events"')
    assert await cluster.events("orders") == []


async def test_without_patch_on_events_only_the_count_of_what_happens_again_is_lost(cluster: RealCluster) -> None:
    """The first time is told; the second one is refused, and the log says which verbs are needed."""
    await cluster.grant(without=("patch", "events"))
    await cluster.add_pod("orders", address=cluster.address(1))
    async with cluster.replica() as replica:
        for arn in (role_arn("orders"), None, role_arn("orders")):
            await cluster.annotate("orders", arn=arn)
            await until_listed(replica, cluster.address(1), "orders" if arn else "")
        await replica.until_metric('iam4kube_events_total{outcome="refused"}', 2)
    assert replica.messages.count(EVENTS_REFUSED) == 1
    assert says(replica, 'cannot patch resource "events"')
    told = {(event.reason, event.times) for event in await cluster.events("orders")}
    assert told == {("RoleFound", 1), ("CredentialsFound", 1), ("NoRole", 1)}
