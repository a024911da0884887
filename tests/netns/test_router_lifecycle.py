"""The running router's start and end, on the real kernel: what holds before, between and after."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from iam4kube.sandbox.network import METADATA_ADDRESSES, METADATA_IPV4
from ip2service.layout import Mode
from tests.support.node_lab import REAL, NodeLab
from tests.support.node_lab_probes import Result
from tests.support.node_lab_rules import arrivals_of_pods
from tests.support.router_lab import RouterLab
from tests.support.waiting import eventually, wait_until

pytestmark = pytest.mark.netns

TAINT = {"key": "ip2service.iam4kube/not-ready", "effect": "NoSchedule"}
OTHER_TAINT = {"key": "example.com/gpu", "effect": "NoSchedule", "value": "a100"}
CILIUM_LINKS = ("ip", "link", "add", "cilium_host", "type", "veth", "peer", "name", "cilium_net")
SLOW_PLUGIN = """
current-context: here
contexts: [{name: here, context: {cluster: here, user: here}}]
clusters: [{name: here, cluster: {server: "http://127.0.0.1:1"}}]
users:
- name: here
  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: sh,
    args: [-c, "echo $$ > $STARTED.tmp; mv $STARTED.tmp $STARTED; exec sleep 25"], env: [{name: STARTED, value: %s}]}}
"""
SERVER_PACKAGES = ["aiolimiter", "boto3", "botocore", "fastapi", "moto", "starlette"]


async def test_r21_before_the_first_list_everything_is_refused(routed: RouterLab) -> None:
    """With the API server down at start the guards are there all the same, and stay when the router is killed."""
    await routed.serve(routed.lab.server("one"))
    await routed.cluster.api.stop()
    async with routed.router() as router:
        await router.until_logged("Guards are in place")
        await assert_refused(routed)
        await router.until_logged("Listening")
        status, text = await router.ask("/readyz")
        assert status == 503
        assert [line.partition(":")[0] for line in text.splitlines()] == ["services", "endpointslices"]
        assert await router.metric("ip2service_ready") == 0
        await router.kill()
        await assert_refused(routed)
        await routed.cluster.api.start()
        await router.start()
        await router.until_ready()
        await routed.until_answered(METADATA_IPV4, by="one")


async def assert_refused(routed: RouterLab) -> None:
    """Pods get nothing, and the node gets everything."""
    for address in METADATA_ADDRESSES:
        assert (await routed.connect(address)).result is Result.REFUSED
        assert (await routed.lab.node.connect(address, 80)).by == REAL


async def test_r21_the_rules_stay_when_the_router_is_killed(routed: RouterLab) -> None:
    """Kept and new connections go on without it, nothing gets through, and the next one finds nothing to mend."""
    await routed.serve(routed.lab.server("one"))
    async with routed.router() as router:
        await router.until_ready()
        with closing(await routed.lab.pod("a").keep(METADATA_IPV4, 80)) as kept:
            assert (await kept.ask()).by == "one"
            await router.kill()
            for address in METADATA_ADDRESSES:
                assert (await routed.connect(address)).by == "one"
            await router.start()
            await router.until_ready()
            assert (await kept.ask()).by == "one"
        assert not router.logged("Rules differed from what was installed; repaired")
    assert not await arrivals_of_pods(routed.lab)


async def test_sigterm_ends_it_at_once_and_leaves_the_rules(routed: RouterLab) -> None:
    """Exit code 0 in under 2 s; kept and new connections do not notice; the log says how to remove the rules."""
    await routed.serve(routed.lab.server("one"))
    async with routed.router() as router:
        await router.until_ready()
        with closing(await routed.lab.pod("a").keep(METADATA_IPV4, 80)) as kept:
            assert (await kept.ask()).by == "one"
            began = asyncio.get_running_loop().time()
            assert await router.terminate() == 0
            assert asyncio.get_running_loop().time() - began < 2
            assert (await kept.ask()).by == "one"
            assert (await routed.connect(METADATA_IPV4)).by == "one"
        assert "ip2service uninstall" in router.logged("Stopped; the rules stay in place")[0]["hint"]


async def test_sigterm_ends_a_start_that_waits_for_a_credential_plugin(
    routed_to_service: RouterLab, tmp_path: Path
) -> None:
    """In under 2 s, too; the guards are there already, and stay."""
    routed = routed_to_service
    await routed.serve(routed.lab.server("one"))
    plugin_id, file = tmp_path / "plugin_id", tmp_path / "kubeconfig"
    file.write_text(SLOW_PLUGIN % plugin_id)
    async with routed.router(f"--kubeconfig={file}") as router:
        await wait_until(plugin_id.exists)
        async with asyncio.timeout(2):
            assert await router.terminate() == 0
        os.kill(int(plugin_id.read_text()), signal.SIGKILL)  # nobody waits for it any more
        assert router.logged("Stopped; the rules stay in place")
        await assert_refused(routed)


async def test_routing_goes_on_without_the_api_server(routed: RouterLab) -> None:
    """It stays ready, connects pods, repairs what is changed; and hears of everything when it is back."""
    one, two = routed.lab.server("one"), routed.lab.server("two")
    await routed.serve(one)
    async with routed.router() as router:
        await router.until_ready()
        await routed.cluster.api.stop()
        await routed.load("delete table inet ip2service")
        await routed.until_answered(METADATA_IPV4, by="one")
        assert (await router.ask("/readyz")).status == 200
        await routed.change(two)
        await routed.cluster.api.start()
        for address in METADATA_ADDRESSES:
            await routed.until_answered(address, by="two")
        assert not router.logged("Not ready", level="WARNING")


async def test_a_router_starts_beside_a_rule_in_the_place_of_one_of_its_own(routed: RouterLab) -> None:
    """It serves, is not ready and says why; once the rule is gone it is ready."""
    foreign = ("pref", "7", "from", "10.9.0.0/16", "to", METADATA_IPV4, "prohibit", "protocol", "kernel")
    await routed.serve(routed.lab.server("one"))
    await routed.lab.node.command("ip", "rule", "add", *foreign)
    async with routed.router() as router:
        await router.until_logged("Listening")
        for address in METADATA_ADDRESSES:
            await routed.until_answered(address, by="one")
        status, text = await router.ask("/readyz")
        assert status == 503
        assert f"rules: policy rule 'pref 7 to {METADATA_IPV4} prohibit' cannot be added: File exists" in text
        await routed.lab.node.command("ip", "rule", "delete", *foreign)
        await router.until_ready()
        assert f"7:\tfrom all to {METADATA_IPV4} prohibit" in await routed.lab.node.command("ip", "rule")
    assert not await arrivals_of_pods(routed.lab)


async def test_a_plugin_that_leads_packets_past_the_rules_makes_it_unready(routed_to_endpoints: RouterLab) -> None:
    """One line says which link, whose, and what to do; with --accept-bypass it is ready, and counts it still."""
    routed = routed_to_endpoints
    await routed.serve(routed.lab.server("one"))
    await routed.lab.node.command(*CILIUM_LINKS)
    async with routed.router() as router:
        line = await router.until_logged("The network seems to lead pods' packets past the rules", accepted=False)
        assert "cilium_host" in line["sign"]
        await router.until_metric("ip2service_bypass_suspected", 1)  # it looks before it listens
        status, text = await router.ask("/readyz")
        lines = [line for line in text.splitlines() if line.startswith("bypass: ")]
        assert (status, len(lines)) == (503, 1)
        assert "--accept-bypass" in lines[0]
        assert not router.logged("Ready")
    async with routed.router("--accept-bypass") as router:
        await router.until_ready()
        await router.until_metric("ip2service_bypass_suspected", 1)


@pytest.fixture
async def tainted(lab: NodeLab, tmp_path: Path) -> AsyncIterator[RouterLab]:
    """The laboratory in endpoints mode, whose Node has the startup taint and another."""
    async with RouterLab(lab, Mode.ENDPOINTS, folder=tmp_path, taints=[TAINT, OTHER_TAINT]) as routed:
        yield routed


async def test_the_startup_taint_goes_when_the_router_is_ready(tainted: RouterLab) -> None:
    """Not before, and no other taint with it."""
    await tainted.serve(tainted.lab.server("one"))
    await tainted.lab.node.command(*CILIUM_LINKS)
    async with tainted.router(f"--remove-startup-taint={TAINT['key']}") as router:
        await router.until_logged("The network seems to lead pods' packets past the rules")
        assert taints_of(tainted) == [TAINT, OTHER_TAINT]
    await tainted.lab.node.command("ip", "link", "delete", "cilium_host")
    async with tainted.router(f"--remove-startup-taint={TAINT['key']}") as router:
        await router.until_logged("Startup taint removed", taint=TAINT["key"])
        assert router.logged("Ready")
    assert taints_of(tainted) == [OTHER_TAINT]


async def test_nodes_are_never_written_without_a_startup_taint(tainted: RouterLab) -> None:
    """The permission to patch nodes is given only where it is needed."""
    await tainted.serve(tainted.lab.server("one"))
    async with tainted.router() as router:
        await router.until_ready()
        await eventually(lambda: asked_for_node(tainted))
    assert taints_of(tainted) == [TAINT, OTHER_TAINT]
    assert {answered.request.verb for answered in tainted.cluster.api.requests} <= {"get", "list", "watch", "create"}


def taints_of(routed: RouterLab) -> object:
    """The Node's taints."""
    return routed.cluster.api.get("nodes", routed.node)["spec"]["taints"]


async def asked_for_node(routed: RouterLab) -> bool:
    """Whether the router has read its Node."""
    return routed.cluster.api.count("get", "nodes") > 0


async def test_the_router_needs_neither_boto3_nor_fastapi(routed_to_endpoints: RouterLab, tmp_path: Path) -> None:
    """Its image has none of the credential server's packages: where importing them fails it routes all the same."""
    routed = routed_to_endpoints
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules |= dict.fromkeys({SERVER_PACKAGES})\n")
    await routed.serve(routed.lab.server("one"))
    async with routed.router(environ={"PYTHONPATH": str(tmp_path)}) as router:
        await router.until_ready()
        assert (await routed.connect(METADATA_IPV4)).by == "one"
        assert await router.metric("ip2service_ready") == 1
