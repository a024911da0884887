"""What `ip2service check` says of a node, state by state."""

import pytest

from iam4kube.kube.objects import Address
from ip2service.inspection import Finding, Level, findings
from ip2service.kernel_protocols import Snapshot
from ip2service.layout import STAND_IN, Contents, Endpoint, Family, Layout, Mode, Route
from ip2service.policy_rules import wanted_rules
from ip2service.ruleset import GUARD_TABLE, ROUTING_TABLE
from tests.support.router_kernel import KernelInMemory

CLUSTER_IP = Address("10.96.0.50")
ROUTED = Contents(routes={Family.IPV4: Route(frontend=CLUSTER_IP, gate=True)})


def kernel(contents: Contents = ROUTED, *, layout: Layout | None = None, origin: str = "boot") -> KernelInMemory:
    """A node as a router leaves it."""
    made = KernelInMemory(layout=layout or Layout())
    made.install(contents, origin=origin)
    return made


async def said(node: KernelInMemory, *, bypass: str = "", bypass_accepted: bool = False) -> list[Finding]:
    """What is found on this node."""
    snapshot: Snapshot = await node.kernel().snapshot()
    return findings(
        snapshot,
        node.layout,
        rule_priority=89,
        refusing=await node.kernel().refusing(),
        bypass=bypass,
        bypass_accepted=bypass_accepted,
    )


def bad(found: list[Finding]) -> list[str]:
    """What is wrong."""
    return [f"{finding.about}: {finding.text}" for finding in found if finding.level is Level.BAD]


async def test_nothing_is_wrong_where_boot_rules_and_router_did_their_work() -> None:
    """A Service without an IPv6 address is the rule, and said without alarm."""
    found = await said(kernel())
    assert bad(found) == []
    texts = {finding.about: finding.text for finding in found}
    assert texts["guard"] == "in place, installed by the boot rules; it has refused 0 packets"
    assert texts["IPv4"] == "169.254.169.254 port 80 leads to 10.96.0.50 port 8169; new connections are let in"
    assert "leads nowhere and is refused to pods" in texts["IPv6"]


async def test_a_guard_that_was_not_installed_at_boot_is_worth_a_note_r21() -> None:
    """Nothing is wrong now; the next reboot is."""
    found = await said(kernel(origin="router"))
    assert bad(found) == []
    [note] = [finding.text for finding in found if finding.about == "boot rules"]
    assert "after a reboot" in note
    assert "`ip2service boot-rules`" in note


async def test_an_empty_node_lets_everything_through_and_hears_it() -> None:
    """Guard, policy rules, routing: each with its remedy."""
    found = bad(await said(KernelInMemory()))
    assert [line.partition(":")[0] for line in found] == ["guard", "policy rules", "routing"]
    assert "pods can reach the real metadata service" in found[0]
    assert "`ip -4 rule add pref 91 to 169.254.169.254 prohibit`" in found[1]


@pytest.mark.parametrize("name", [GUARD_TABLE, ROUTING_TABLE])
async def test_a_table_of_somebody_else_is_named(name: str) -> None:
    """It is not taken for a guard."""
    node = kernel()
    node.tables[name].comment = "mine"
    [line] = bad(await said(node))
    assert f"table inet {name} belongs to somebody else" in line


@pytest.mark.parametrize("name", [GUARD_TABLE, ROUTING_TABLE])
async def test_a_changed_table_is_shown_with_what_differs(name: str) -> None:
    """A removed rule, or other settings than the router's."""
    node = kernel()
    [*lines, last] = [line for line in node.tables[name].structure.splitlines() if "reject with tcp reset" in line]
    node.tables[name].structure = node.tables[name].structure.replace(f"{last}\n", "")
    [line] = bad(await said(node))
    assert last.strip() in line
    assert lines


async def test_a_guard_that_differs_is_not_said_to_be_in_place() -> None:
    """Of two lines people believe the one that they like."""
    node = kernel()
    node.tables[GUARD_TABLE].structure += "#"
    assert [finding.level for finding in await said(node) if finding.about == "guard"] == [Level.BAD]


async def test_wrong_settings_are_asked_for_first_and_shown_short() -> None:
    """Hundreds of characters of rules hide the one question that helps; machines get them all."""
    node = kernel(layout=Layout(mode=Mode.ENDPOINTS))
    node.layout = Layout()
    [found] = [finding for finding in await said(node) if finding.level is Level.BAD and finding.about == "routing"]
    question, _, difference = found.text.partition("? ")
    assert question == "differs from what these settings make: are they the router's"
    assert len(difference) < 160
    assert difference.endswith("(more with --json)")
    assert len(found.detail) > 300


async def test_policy_rules_at_another_priority_are_worth_a_note() -> None:
    """They refuse pods for ever, whatever becomes of the router."""
    node = kernel()
    node.rules |= wanted_rules(node.layout, Contents(), priority=20)
    found = await said(node)
    assert bad(found) == []
    [note] = [finding.text for finding in found if finding.about == "policy rules" and finding.level is Level.NOTE]
    assert "an earlier --rule-priority" in note
    assert note.endswith(
        "`ip -4 rule delete pref 22 to 169.254.169.254 prohibit`, `ip -6 rule delete pref 22 to fd00:ec2::254 prohibit`"
    )


async def test_a_single_missing_policy_rule_is_missed() -> None:
    """With the command that adds it."""
    node = kernel()
    node.rules = {rule for rule in node.rules if not (rule.family is Family.IPV6 and rule.priority == 91)}
    [line] = bad(await said(node))
    assert "`ip -6 rule add pref 91 to fd00:ec2::254 prohibit`" in line
    assert "pref 90" not in line


async def test_a_closed_gate_is_something_missing() -> None:
    """Pods get no credentials, and nothing gets through."""
    [line] = bad(await said(kernel(Contents(routes={Family.IPV4: Route(frontend=CLUSTER_IP)}))))
    assert "no server is ready: new connections are refused" in line


async def test_without_any_address_of_the_service_both_families_are_bad() -> None:
    """Nobody is routed."""
    assert [line[:4] for line in bad(await said(kernel(Contents())))] == ["IPv4", "IPv6"]


async def test_endpoints_mode_says_how_many_servers_there_are() -> None:
    """Each takes many slots of the map."""
    servers = tuple(Endpoint(Address(f"10.0.0.{number}"), 8080) for number in (1, 2, 3))
    route = Route(frontend=STAND_IN[Family.IPV4], gate=True, endpoints=servers)
    node = kernel(Contents(routes={Family.IPV4: route}), layout=Layout(mode=Mode.ENDPOINTS))
    [text] = [finding.text for finding in await said(node) if finding.about == "IPv4"]
    assert "(servers chosen here: 3)" in text


async def test_endpoints_mode_on_one_family_is_no_trouble() -> None:
    """The other family has a stand-in, too, and nobody behind it."""
    routes = {family: Route(frontend=STAND_IN[family], gate=family is Family.IPV4) for family in Family}
    assert bad(await said(kernel(Contents(routes=routes), layout=Layout(mode=Mode.ENDPOINTS)))) == []


async def test_a_closed_gate_of_a_cluster_ip_is_bad_beside_an_open_one() -> None:
    """The Service has the family, and its pods ask."""
    routes = {family: Route(frontend=CLUSTER_IP, gate=family is Family.IPV4) for family in Family}
    [line] = bad(await said(kernel(Contents(routes=routes))))
    assert line.startswith("IPv6: ")


async def test_exempt_pods_are_counted() -> None:
    """They are the way around the rules that there is."""
    route = Route(frontend=CLUSTER_IP, gate=True, exempt=frozenset({Address("10.0.0.1"), Address("10.0.0.2")}))
    [text] = [
        finding.text
        for finding in await said(kernel(Contents(routes={Family.IPV4: route})))
        if "exempt" in finding.about
    ]
    assert text.endswith(": 2")


async def test_a_sign_of_a_bypass_is_bad_unless_it_is_accepted() -> None:
    """Rules that nobody passes protect nobody."""
    assert bad(await said(kernel(), bypass="the link x")) == ["bypass: the link x"]
    assert bad(await said(kernel(), bypass="the link x", bypass_accepted=True)) == []
