"""A replica that starts in a cluster which is there already: more pods than fit into one page of a list."""

import asyncio
import random

import pytest

from tests.support.metadata import ROLES
from tests.support.real_cluster import RealCluster
from tests.support.world import role_arn

pytestmark = pytest.mark.cluster

PODS = 600
"""A page of a list has 500."""
ACCOUNTS = 20


async def test_a_replica_knows_every_object_when_it_is_ready(permitted: RealCluster) -> None:
    """Its three lists have what the API server has, and any pod is answered at once with its own role."""
    cluster = permitted
    async with asyncio.TaskGroup() as making:
        for number in range(ACCOUNTS):
            name = f"account-{number}"
            making.create_task(cluster.add_account(name, arn=role_arn(name)))
        for index in range(PODS):
            pod = cluster.run_pod(f"pod-{index}", address=cluster.address(index), account=f"account-{index % ACCOUNTS}")
            making.create_task(pod)
    async with cluster.replica("--sts-rate=100", "--sts-burst=100") as replica:
        report = (await replica.admin("/readyz")).json
        known = {resource: watch["objects"] for resource, watch in report["watches"].items()}
        assert known == {resource: await cluster.count(resource) for resource in known}
        assert set(known) == {"pods", "serviceaccounts", "nodes"}
        for index in random.sample(range(PODS), 20):
            async with asyncio.timeout(1):
                answered = await replica.ask("GET", ROLES, cluster.address(index))
            assert answered.text == f"account-{index % ACCOUNTS}"
        assert await replica.metric('iam4kube_watch_list_seconds_count{resource="pods"}') == 1
        for resource in known:
            assert await replica.metric(f'iam4kube_watch_odd_objects_total{{resource="{resource}"}}') == 0
