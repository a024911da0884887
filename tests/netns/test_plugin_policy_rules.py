"""Policy rules of a network plugin for single pods, as the VPC CNI has them for security groups, beside ours."""

import json

import pytest

from iam4kube.sandbox.network import METADATA_IPV4
from ip2service.layout import Contents, Family, Layout
from ip2service.policy_rules import wanted_rules
from tests.support.node_lab import REAL, NodeLab
from tests.support.node_lab_probes import Result

pytestmark = pytest.mark.netns

PLUGIN_PRIORITY, PLUGIN_TABLE = 10, "101"  # amazon-vpc-cni-k8s, `VlanRulePriority`
LAYOUT = Layout(intercepted={Family.IPV4: Layout().intercepted[Family.IPV4]})


async def lead_pod_by_a_table_of_its_own(lab: NodeLab) -> None:
    """Whatever comes from pod a is routed by the plugin's table, which leads to the real service, too."""
    [route] = json.loads(await lab.node.command("ip", "-json", "-4", "route", "get", METADATA_IPV4))
    gateway = ("via", route["gateway"]) if "gateway" in route else ()
    await lab.node.command("ip", "route", "add", "default", *gateway, "dev", route["dev"], "table", PLUGIN_TABLE)
    rule = ("iif", lab.pod("a").host.link, "lookup", PLUGIN_TABLE)
    await lab.node.command("ip", "rule", "add", "pref", str(PLUGIN_PRIORITY), *rule)


async def refuse_by_policy(lab: NodeLab, *, priority: int) -> None:
    """Our rules alone: what is left when somebody has flushed nftables."""
    for rule in sorted(wanted_rules(LAYOUT, Contents(), priority=priority), key=lambda rule: rule.priority):
        await lab.node.command("ip", f"-{rule.family.value}", "rule", "add", *str(rule).split())


async def test_rules_before_the_plugins_refuse(lab: NodeLab) -> None:
    """With a priority below the plugin's, the second guard holds for such pods, too."""
    await lead_pod_by_a_table_of_its_own(lab)
    await refuse_by_policy(lab, priority=5)
    for pod in lab.pod("a"), lab.pod("b"):
        assert (await pod.connect(METADATA_IPV4, 80)).result is Result.UNREACHABLE
    assert (await lab.node.connect(METADATA_IPV4, 80)).by == REAL


async def test_rules_after_the_plugins_are_never_asked(lab: NodeLab) -> None:
    """Why the priority matters: that pod's way is decided before ours, and only nftables stands in it."""
    await lead_pod_by_a_table_of_its_own(lab)
    await refuse_by_policy(lab, priority=89)
    assert (await lab.pod("a").connect(METADATA_IPV4, 80)).by == REAL
    assert (await lab.pod("b").connect(METADATA_IPV4, 80)).result is Result.UNREACHABLE
