"""Upgrading in working hours: what `kubectl apply -k` installs is rolled while pods fetch credentials.

Everything is real but the kubelets and AWS: the manifests' base, the control plane with its controllers, kube-proxy,
the rules, the programs, and boto3 beside plain clients. Changed for the test is where STS is, and for the version that
never becomes ready the deadline that the Deployment has for progress.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.controlplane import ControlPlane
from tests.support.upgrade_cluster import UpgradeCluster, eventually
from tests.support.upgrade_controllers import Controllers
from tests.support.upgrade_programs import NEVER_READY, ROUTER, SERVER, server_settings
from tests.support.upgrade_records import Record, Window

# On an idle machine 160 s: six servers that are ready for 10 s each, one after the other, and a drain of 20 s.
pytestmark = [pytest.mark.netns, pytest.mark.cluster, pytest.mark.timeout(400)]

REQUESTS_PER_SECOND = 200
LONGEST_ANSWER = 5.0  # seconds until a client gives up: what began before the end is written down by then
DEADLINE = 15  # seconds; in the manifests 90 minutes
DEPLOYMENT, DAEMON_SET = f"deployment/{SERVER}", f"daemonset/{ROUTER}"
IN_SERVER = f"--namespace={SERVER}"


@pytest.fixture
def complete_control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane of its own, with controllers and scheduler: they would take over the other tests' objects."""
    assets = Path(os.environ["KUBEBUILDER_ASSETS"])
    with (
        ControlPlane(assets, tmp_path, admit_service_accounts=True) as control_plane,
        Controllers(control_plane, tmp_path),
    ):
        yield control_plane


async def test_upgrades_lose_no_call_and_let_nobody_reach_the_real_metadata_service(
    complete_control_plane: ControlPlane, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Under 200 new connections a second: two roll-outs of the servers, one of the routers, a killed server, and a
    version that never becomes ready; only what was sent to the killed server before the proxies knew is lost.
    """
    record = Record()
    async with UpgradeCluster(complete_control_plane, tmp_path) as cluster:
        await cluster.install(server_settings(cluster.sts))
        await cluster.start_clients()
        try:
            await roll(cluster, record)
            lost = await lose_a_server(cluster, record)
            await try_a_version_that_never_becomes_ready(cluster, record)
            await asyncio.sleep(LONGEST_ANSWER)
        finally:
            record.sort(cluster.requests())
            strangers = await cluster.strangers()
            tell(f"{record}\npackets of pods to the real metadata service: {sum(strangers.values())}")
    outages = [request for request in record.failed if request.cut and lost.overlaps(request)]
    tell(f"{lost}: {len(outages)} connections refused")
    assert [request for request in record.failed if request not in outages] == []
    assert record.slow == []
    assert strangers == {}
    assert record.rate > 0.9 * REQUESTS_PER_SECOND


async def roll(cluster: UpgradeCluster, record: Record) -> None:
    """Both programs, the servers twice; the old ones have ended in good order."""
    for number in 1, 2:
        with record.phase(f"servers, roll-out {number}"):
            await cluster.restart(DEPLOYMENT, namespace=SERVER)
    routers = cluster.pods(ROUTER)
    with record.phase("routers, roll-out"):
        await cluster.restart(DAEMON_SET, namespace=ROUTER)
    old = [worker for worker in cluster.all_pods(SERVER, "server") if worker.deleted]
    with record.phase("the last servers' drain"):
        await cluster.until_ended([*old, *routers])
    assert len(old) == 6
    for worker in [*old, *routers]:
        container = worker.containers[0]
        assert (container.exit_code, container.restarts) == (0, 0), worker.log[-2000:]
    assert all(20.0 < worker.ended_after < 60.0 for worker in old)


async def lose_a_server(cluster: UpgradeCluster, record: Record) -> Window:
    """SIGKILL; returns the time from it until no worker's proxy leads to it any more."""
    victim = cluster.pods(SERVER, "server")[0]
    assert victim.host is not None
    address = victim.host.ipv4
    assert await cluster.proxies_know(address)
    with record.phase("one server is killed"):
        killed = time.monotonic()
        os.kill(victim.containers[0].pid, signal.SIGKILL)

        async def left_the_slice() -> bool:
            return address not in await cluster.endpoints()

        async def left_the_rules() -> bool:
            return not await cluster.proxies_know(address)

        in_slice = await eventually(left_the_slice) - killed
        left = await eventually(left_the_rules)
        await cluster.until_rolled_out(DEPLOYMENT, namespace=SERVER)
        await asyncio.sleep(1.0)
    assert victim.containers[0].restarts == 1
    return Window(name=f"killed, {in_slice:.1f} s in the slice", began=killed, ended=left)


async def try_a_version_that_never_becomes_ready(cluster: UpgradeCluster, record: Record) -> None:
    """The roll-out stops by itself, with all old servers in place, and `kubectl rollout undo` takes it back."""
    ready = await cluster.endpoints()
    with record.phase("a version that is never ready"):
        deadline = f'{{"spec":{{"progressDeadlineSeconds":{DEADLINE}}}}}'
        await cluster.kubectl("patch", DEPLOYMENT, IN_SERVER, "--patch", deadline)
        await cluster.kubectl("set", "image", DEPLOYMENT, IN_SERVER, f"{SERVER}={SERVER}:{NEVER_READY}")
        said = await cluster.kubectl("rollout", "status", DEPLOYMENT, IN_SERVER, code=1)
        assert "exceeded its progress deadline" in said
        assert await cluster.endpoints() == ready
        assert len(ready) == 3
    with record.phase("back"):
        await cluster.kubectl("rollout", "undo", DEPLOYMENT, IN_SERVER)
        await cluster.until_rolled_out(DEPLOYMENT, namespace=SERVER)
        assert await cluster.endpoints() == ready
