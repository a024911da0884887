"""The router's commands on the real kernel: what they say, what they change, and what they leave alone."""

import json
import shlex
from pathlib import Path

import pytest

from iam4kube.sandbox.network import METADATA_ADDRESSES, METADATA_IPV4
from ip2service.boot import RULES_FILE
from tests.support.commands import Ended
from tests.support.node_lab import REAL, NodeLab
from tests.support.node_lab_probes import Result
from tests.support.node_lab_rules import arrivals_of_pods, policy_rules, ruleset
from tests.support.router_lab import RouterLab
from tests.support.router_process import run_command

pytestmark = pytest.mark.netns

WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
FOREIGN = 'table inet ip2service {\n\tcomment "somebody else\'s"\n\tset addresses {\n\t\ttype ipv4_addr\n\t}\n}\n'
RUN = ("run", "--node-name=node", "--kubeconfig=/nowhere", "--log-format=json")


async def installed(lab: NodeLab) -> tuple[str, object]:
    """All of nftables and policy routing in the node."""
    return await ruleset(lab), await policy_rules(lab)


async def boot(lab: NodeLab, folder: Path) -> None:
    """What a node's boot does: the file and the unit's commands, as `ip2service boot-rules` writes them."""
    file = folder / "boot-rules.nft"
    file.write_text((await run_command(lab.node, "boot-rules")).output)
    unit = (await run_command(lab.node, "boot-rules", "--systemd-unit")).output
    commands = [line.removeprefix("ExecStart=") for line in unit.splitlines() if line.startswith("ExecStart=")]
    for command in commands:
        await lab.node.command(*(argument.replace(RULES_FILE, str(file)) for argument in shlex.split(command)))


async def test_check_tells_that_there_is_nothing(lab: NodeLab) -> None:
    """A node without the router: pods can reach the real service, and a probe fails."""
    before = await installed(lab)
    found = await run_command(lab.node, "check")
    assert found.code == 1
    assert "BAD   guard: there is none: pods can reach the real metadata service" in found.output
    assert "ip -4 rule add pref 7 to 169.254.169.254 prohibit" in found.output
    assert await installed(lab) == before


async def test_check_tells_that_the_boot_rules_are_alone(lab: NodeLab, tmp_path: Path) -> None:
    """After a boot: nothing gets through, and nothing is routed."""
    await boot(lab, tmp_path)
    found = await run_command(lab.node, "check")
    assert found.code == 1
    assert "ok    guard: in place, installed by the boot rules" in found.output
    assert "ok    policy rules: in place" in found.output
    assert "BAD   routing: there is none" in found.output
    assert "BAD   guard" not in found.output


async def test_check_tells_what_the_running_router_does(routed: RouterLab) -> None:
    """All in place, no server, changed by somebody, led past: for people, for probes and for machines."""
    node = routed.lab.node
    mode = f"--mode={routed.mode.value}"
    await routed.serve(routed.lab.server("one"))
    async with routed.router() as router:
        await router.until_ready()
        good = await run_command(node, "check", mode)
        assert (good.code, good.output.count("new connections are let in")) == (0, 2), good
        assert "note  boot rules: the guard was not installed at boot" in good.output
        document = json.loads((await run_command(node, "check", mode, "--json")).output)
        assert document["healthy"] is True
        assert {finding["level"] for finding in document["findings"]} <= {"good", "note"}
        await routed.change()
        for family in "IPv4", "IPv6":  # a pod may be refused before, by what stands for kube-proxy
            await router.until_metric(f'ip2service_gate_open{{family="{family}"}}', 0)
        unserved = await run_command(node, "check", mode)
        assert (unserved.code, unserved.output.count("BAD   IPv4: ")) == (1, 1)
        assert "no server is ready: new connections are refused" in unserved.output
        await routed.change(routed.lab.server("one"))
        await routed.until_answered(METADATA_IPV4, by="one")
    await routed.load("insert rule inet ip2service there accept")
    drifted = await run_command(node, "check", mode)
    assert (drifted.code, "BAD   routing: differs from what these settings make: are they" in drifted.output) == (
        1,
        True,
    )
    assert "If so, it was changed: +accept" in drifted.output
    [difference] = [
        finding["detail"]
        for finding in json.loads((await run_command(node, "check", mode, "--json")).output)["findings"]
        if finding["detail"]
    ]
    assert difference == "+accept"


async def test_check_tells_of_a_bypass(lab: NodeLab) -> None:
    """Whatever the rules are: bad, or worth a note where it is accepted."""
    await lab.node.command("ip", "link", "add", "cilium_host", "type", "veth", "peer", "name", "cilium_net")
    assert "BAD   bypass: the link cilium_host" in (await run_command(lab.node, "check")).output
    assert "note  bypass: the link cilium_host" in (await run_command(lab.node, "check", "--accept-bypass")).output


async def test_r25_uninstall_removes_ours_and_nothing_else(routed: RouterLab) -> None:
    """Tables and policy rules are as before the router; a second time there is nothing to do."""
    node = routed.lab.node
    await routed.load("table inet other {\n\tset addresses {\n\t\ttype ipv4_addr\n\t}\n}")
    await node.command("ip", "rule", "add", "pref", "512", "to", METADATA_IPV4, "lookup", "main")
    await routed.serve(routed.lab.server("one"))
    before = await installed(routed.lab)
    async with routed.router() as router:
        await router.until_ready()
    assert await installed(routed.lab) != before
    removed = await run_command(node, "uninstall")
    assert removed.code == 0, removed
    assert removed.output.count("removed table inet ip2service") == 2
    assert "Pods of this node reach the real metadata service" in removed.output
    assert await installed(routed.lab) == before
    for address in METADATA_ADDRESSES:
        assert (await routed.lab.pod("a").connect(address, 80)).by == REAL
    assert await run_command(node, "uninstall") == Ended(0, "nothing to remove\n", "")


async def test_r25_uninstall_tells_what_an_earlier_setting_left(lab: NodeLab) -> None:
    """Whoever believes that everything is gone looks for a long time for what refuses pods: exit code 1, and how."""
    for priority in "20", "5":
        ended = await run_command(lab.node, *RUN, f"--rule-priority={priority}")
        assert ended.code == 2  # no cluster, but guards
        assert "\nip2service: the guards are in place and stay" in ended.errors
    checked = await run_command(lab.node, "check")
    assert "note  policy rules: others, at another priority, refuse pods, too" in checked.output
    assert "`ip -4 rule delete pref 22 to 169.254.169.254 prohibit`" in checked.output
    removed = await run_command(lab.node, "uninstall")
    assert (removed.code, removed.output.count("removed policy rule")) == (1, 4)
    assert "Pods of this node reach the real metadata service" not in removed.output
    commands = [line.strip() for line in removed.errors.splitlines()[1:]]
    assert commands == [
        f"ip -{4 if address == METADATA_IPV4 else 6} rule delete pref 22 to {address} prohibit"
        for address in METADATA_ADDRESSES
    ]
    for command in commands:
        await lab.node.command(*command.split())
    assert await run_command(lab.node, "uninstall") == Ended(0, "nothing to remove\n", "")
    for address in METADATA_ADDRESSES:
        assert (await lab.pod("a").connect(address, 80)).by == REAL


async def test_r25_uninstall_beside_a_running_router_says_so(routed_to_endpoints: RouterLab) -> None:
    """Whose rules come back at once: nothing is uninstalled, and whoever did it is told."""
    routed = routed_to_endpoints
    await routed.serve(routed.lab.server("one"))
    async with routed.router() as router:
        await router.until_ready()
        ended = await run_command(routed.lab.node, "uninstall")
        assert ended.code == 1
        assert "a router still runs here" in ended.errors
        await routed.until_answered(METADATA_IPV4, by="one")


@pytest.mark.parametrize("command", [("uninstall",), RUN], ids=["uninstall", "run"])
async def test_r25_another_owners_table_is_refused(lab: NodeLab, command: tuple[str, ...]) -> None:
    """One line that says which and what to do, exit code 2, and nothing changed."""
    await lab.node.command("nft", "-f", "-", text=FOREIGN)
    before = await installed(lab)
    ended = await run_command(lab.node, *command)
    assert_a_mistake(ended, "table inet ip2service belongs to somebody else", "nft list table inet ip2service")
    assert await installed(lab) == before


@pytest.mark.parametrize("command", [("uninstall",), ("check",), RUN], ids=["uninstall", "check", "run"])
async def test_a_missing_capability_is_one_line(lab: NodeLab, command: tuple[str, ...]) -> None:
    """Exit code 2, NET_ADMIN by name, and nothing changed."""
    before = await installed(lab)
    ended = await run_command(lab.node, *command, wrapper=WITHOUT_NET_ADMIN)
    assert_a_mistake(ended, "NET_ADMIN")
    assert await installed(lab) == before


def assert_a_mistake(ended: Ended, *words: str) -> None:
    """One line on standard error with these words, and exit code 2."""
    assert (ended.code, ended.output, ended.errors.count("\n")) == (2, "", 1), ended
    assert ended.errors.startswith("ip2service: ")
    for word in words:
        assert word in ended.errors


async def test_rules_loaded_twice_are_what_the_router_installs(routed: RouterLab) -> None:
    """What `ip2service rules` prints is accepted by nft, and adds nothing to a node where the router runs."""
    rules = await run_command(routed.lab.node, "rules", f"--mode={routed.mode.value}")
    assert rules.code == 0
    await routed.load(rules.output)
    loaded = await ruleset(routed.lab)
    await routed.create_service()
    async with routed.router() as router:
        await router.until_ready()
        assert not router.logged("Rules differed from what was installed; repaired")
    assert '"ip2service routing' in loaded


async def test_boot_rules_refuse_until_the_router_routes(routed: RouterLab, tmp_path: Path) -> None:
    """From a node's boot on, and whatever is loaded again on a live node disturbs nothing. Nothing gets through."""
    lab = routed.lab
    await boot(lab, tmp_path)
    for address in METADATA_ADDRESSES:
        assert (await routed.connect(address)).result is Result.REFUSED
        assert (await lab.node.connect(address, 80)).by == REAL
    await routed.serve(lab.server("one"))
    async with routed.router() as router:
        await router.until_ready()
        await routed.until_answered(METADATA_IPV4, by="one")
        before = await installed(lab)
        await boot(lab, tmp_path)
        loading = f"nft -f {tmp_path / 'boot-rules.nft'} && echo loaded || echo refused"
        assert await lab.node.command("sh", "-c", loading) == "refused\n"
        assert await installed(lab) == before
        await routed.until_answered(METADATA_IPV4, by="one")
        assert not router.logged("Rules differed from what was installed; repaired")
        checked = await run_command(lab.node, "check", f"--mode={routed.mode.value}")
        assert (checked.code, "installed by the boot rules" in checked.output) == (0, True)
    assert not await arrivals_of_pods(lab)
