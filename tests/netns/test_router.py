"""The running router on the real kernel, against an API server in memory: where connections go."""

import pytest

from iam4kube.sandbox.network import METADATA_ADDRESSES
from tests.support.node_lab import REAL
from tests.support.node_lab_probes import Result
from tests.support.router_lab import RouterLab

pytestmark = pytest.mark.netns


async def test_a_pod_reaches_a_server_through_the_router(routed: RouterLab) -> None:
    """In both families, and is seen with its own address; the node itself reaches the real service."""
    await routed.serve(routed.lab.server("one"))
    async with routed.router() as router:
        await router.until_ready()
        for address in METADATA_ADDRESSES:
            pod, node = routed.lab.pod("a"), routed.lab.node
            outcome = await routed.connect(address)
            assert (outcome.result, outcome.by, outcome.source) == (Result.ANSWERED, "one", pod.own(address))
            assert (await node.connect(address, 80)).by == REAL
        assert await router.ask("/readyz") == (200, "ready\n")
        assert await router.metric("ip2service_ready") == 1
        assert await router.metric('ip2service_gate_open{family="IPv4"}') == 1
