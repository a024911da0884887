"""Both programs with exactly what the manifests grant: nothing is refused, and nothing is granted for nothing.

What was asked is read from the API server's audit log.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.installed_cluster import MERGE, TOKEN_KEYS, InstalledCluster, run_token_key_job
from tests.support.manifest_permissions import grants_of
from tests.support.manifests import BASE, rendered
from tests.support.metadata import ROLES
from tests.support.node_lab import NodeLab
from tests.support.node_lab_cluster import LabCluster
from tests.support.real_cluster import RealCluster, until_listed
from tests.support.router_process import RouterProcess
from tests.support.waiting import eventually
from tests.support.world import role_arn

pytestmark = pytest.mark.cluster

SERVER, ROUTER = "iam4kube:iam4kube", "ip2service:ip2service"
SERVICE = "/api/v1/namespaces/iam4kube/services/iam4kube"
STARTUP_TAINT = "ip2service/not-ready"


@asynccontextmanager
async def watched_over(cluster: InstalledCluster, account: str, folder: str) -> AsyncIterator[None]:
    """A folder is installed, and its grants are in effect. Fails for any refusal from then on, and any unused grant."""
    # What an overlay has granted before, and no apply of the base takes away.
    leftovers = ("clusterrolebinding", "ip2service-startup-taint", "--ignore-not-found")
    await asyncio.to_thread(cluster.kubectl, "delete", *leftovers)
    await asyncio.to_thread(cluster.install, folder)
    grants = grants_of(rendered(folder), account)
    await asyncio.to_thread(cluster.until, lambda: all(cluster.allows(account, grant) for grant in grants))
    start = cluster.audit.size
    yield
    asked = cluster.audit.asked(account, since=start)
    assert cluster.audit.refused(account, since=start) == []
    assert [grant for grant in grants if not any(map(grant.covers, asked))] == [], "granted and never used"


async def test_the_server_is_granted_what_it_uses(installed: InstalledCluster, tmp_path: Path) -> None:
    """A pod with a role, one without, one whose address two claim, and a role that comes, goes and comes."""
    async with (
        watched_over(installed, SERVER, BASE),
        RealCluster(installed.control_plane, tmp_path) as cluster,
    ):
        token = installed.control_plane.token("iam4kube", "iam4kube", lifetime=3600)
        installed.control_plane.kubeconfig(cluster.kubeconfig, token=token)
        orders, plain, claimed = (cluster.address(index) for index in (1, 2, 3))
        await cluster.add_pod("orders", address=orders)
        await cluster.add_account("plain")
        await cluster.run_pod("plain", address=plain)
        for name in ("one", "other"):
            await cluster.add_pod(name, address=claimed)
        async with cluster.replica() as replica:
            assert (await replica.credentials(orders))["Code"] == "Success"
            assert (await replica.ask("GET", ROLES, plain)).status == 404
            assert (await replica.ask("GET", ROLES, claimed)).status == 503
            for arn in (None, role_arn("orders")):
                await cluster.annotate("orders", arn=arn)
                await until_listed(replica, orders, "orders" if arn else "")

            async def is_counted() -> bool:
                return any(event.reason == "RoleFound" and event.times > 1 for event in await cluster.events("orders"))

            await eventually(is_counted)
            assert not any("refused" in message.lower() for message in replica.messages)


async def test_the_token_keys_job_is_granted_what_it_uses(installed: InstalledCluster) -> None:
    """In a Secret that is as a first installation has it."""
    async with watched_over(installed, "iam4kube:iam4kube-token-keys", BASE):
        await asyncio.to_thread(installed.patch, TOKEN_KEYS, {"data": None})
        code, output, _ = await run_token_key_job(installed)
        assert (code, "made key" in output) == (0, True)


@pytest.mark.netns
@pytest.mark.parametrize("folder", [BASE, "overlays/startup-taint"])
async def test_the_router_is_granted_what_it_uses(installed: InstalledCluster, folder: str, tmp_path: Path) -> None:
    """It becomes ready, its Service loses the port twice, and with the overlay its node loses the taint."""
    has_taint = folder != BASE
    async with (
        watched_over(installed, ROUTER, folder),
        NodeLab() as lab,
        LabCluster(installed.control_plane) as cluster,
        lab.relay(installed.control_plane.port),
    ):
        node = await cluster.add_node(lab.node)
        await asyncio.to_thread(taint, installed, node)
        token = await asyncio.to_thread(pods_token, installed, node)
        config = installed.kubeconfig("router", token)
        flags = [f"--remove-startup-taint={STARTUP_TAINT}"] if has_taint else []
        async with RouterProcess(lab, *flags, kubeconfig=config, node=node, namespace="iam4kube") as router:
            await router.until_ready()
            for times in (1, 2):
                await break_and_mend(cluster, node, times=times)

            async def is_rid_of_it() -> bool:
                taints = (await cluster.ask("GET", f"/api/v1/nodes/{node}"))["spec"].get("taints", [])
                return any(each["key"] == STARTUP_TAINT for each in taints) is not has_taint

            await eventually(is_rid_of_it)


def taint(installed: InstalledCluster, node: str) -> None:
    """Give a node the startup taint."""
    installed.patch(f"/api/v1/nodes/{node}", {"spec": {"taints": [{"key": STARTUP_TAINT, "effect": "NoSchedule"}]}})


def pods_token(installed: InstalledCluster, node: str) -> str:
    """The token that a router's pod on this node gets."""
    spec = {"nodeName": node, "serviceAccountName": "ip2service", "containers": [{"name": "a", "image": "a"}]}
    name = f"ip2service.{node}"
    installed.ask("POST", "/api/v1/namespaces/ip2service/pods", {"metadata": {"name": name}, "spec": spec})
    return installed.token_of_pod("ip2service", name, "ip2service")


async def break_and_mend(cluster: LabCluster, node: str, *, times: int) -> None:
    """Take the router's port from the Service and give it back; each is told on the node, for the so-manieth time."""
    ports: list[dict[str, Any]] = (await cluster.ask("GET", SERVICE))["spec"]["ports"]
    renamed = [{**port, "name": "other"} for port in ports]
    for wanted, reason in ((renamed, "RoutingBroken"), (ports, "RoutingMended")):
        await cluster.ask("PATCH", SERVICE, {"spec": {"ports": wanted}}, content_type=MERGE)

        async def is_told(expected: str = reason) -> bool:
            path = f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={node}"
            told = (await cluster.ask("GET", path))["items"]
            return [event["count"] for event in told if event["reason"] == expected] == [times]

        await eventually(is_told)
