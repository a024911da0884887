"""The real kube-proxy in the laboratory, without the router: a pod reaches a Service by its cluster IP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.controlplane import ControlPlane
from tests.support.node_lab import NodeLab
from tests.support.node_lab_cluster import Endpoint, LabCluster
from tests.support.node_lab_probes import Result
from tests.support.real_proxy import ProxyMode, RealProxy

pytestmark = [pytest.mark.netns, pytest.mark.cluster]

PORT = 8169


@pytest_asyncio.fixture
async def cluster(lab: NodeLab, control_plane: ControlPlane) -> AsyncIterator[LabCluster]:
    """A part of the real cluster that programs in the lab's node reach."""
    async with LabCluster(control_plane) as cluster, lab.relay(control_plane.port):
        yield cluster


@pytest.mark.parametrize("mode", ProxyMode)
async def test_a_pod_reaches_a_service_through_the_real_proxy(
    lab: NodeLab, cluster: LabCluster, tmp_path: Path, mode: ProxyMode
) -> None:
    """A Service's cluster IPs lead to its endpoints, the pod is seen with its own address, changes are followed."""
    node = await cluster.add_node(lab.node)
    cluster_ips = await cluster.create_service("web", port=PORT)
    one, two, pod = lab.server("one"), lab.server("two"), lab.pod("a")
    await cluster.set_endpoints("web", [Endpoint(address=one.ipv4), Endpoint(address=one.ipv6)])
    async with RealProxy(lab, cluster, node=node, mode=mode, folder=tmp_path):
        for address in cluster_ips:
            outcome = await pod.connect(address, PORT)
            assert (outcome.by, outcome.source) == ("one", pod.own(address))
            assert outcome.seconds < 0.5, "the first packet was lost: there were no rules yet"
        with closing(await pod.keep(cluster_ips[0], PORT)) as kept:
            await cluster.set_endpoints("web", [Endpoint(address=two.ipv4), Endpoint(address=two.ipv6)])
            for address in cluster_ips:
                await until_answered(lab, address, by="two")
            assert (await kept.ask()).by == "one"


async def until_answered(lab: NodeLab, address: str, *, by: str) -> None:
    """Wait until a pod's new connections are answered by this one. Raises `TimeoutError`."""
    async with asyncio.timeout(10.0):
        while (outcome := await lab.pod("a").connect(address, PORT)).by != by:
            assert outcome.result is Result.ANSWERED
            await asyncio.sleep(0.02)  # another process makes it true
