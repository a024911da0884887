"""The boot rules as text. What they do in a kernel is in tests/netns."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ip2service.boot import boot_commands, boot_rules, systemd_unit
from ip2service.layout import Family, Layout
from ip2service.ruleset import guard_table

IPV4_ONLY = Layout(intercepted={Family.IPV4: Layout().intercepted[Family.IPV4]})


def test_the_table_is_the_routers_guard_with_another_origin() -> None:
    """The router finds what it would have installed."""
    text = boot_rules(Layout())
    assert guard_table(Layout(), origin="boot") in text
    assert guard_table(Layout()).replace("1 router", "1 boot") in text


def test_the_table_is_created_and_never_added_to() -> None:
    """`table` alone would add every rule once more to a guard that is there; `create` fails instead."""
    first = next(line for line in boot_rules(Layout()).splitlines() if not line.startswith("#"))
    assert first == "create table inet ip2service_guard {"


def test_commands_let_the_node_pass_before_they_refuse() -> None:
    """In each family; and the policy rules come first, because systemd stops at the first failure."""
    to, shown = "to 169.254.169.254", "| grep -q . ||"
    assert list(boot_commands(IPV4_ONLY, rule_priority=89)) == [
        f"ip -4 rule show pref 90 {to} {shown} ip -4 rule add pref 90 iif lo {to} lookup main protocol kernel",
        f"ip -4 rule show pref 91 {to} {shown} ip -4 rule add pref 91 {to} prohibit protocol kernel",
        "nft list table inet ip2service_guard >/dev/null 2>&1 || exec nft -f /etc/ip2service/boot-rules.nft",
    ]


def test_a_kernel_without_ipv6_fails_nothing() -> None:
    """The guard, which comes last, has to be reached."""
    commands = list(boot_commands(Layout(), rule_priority=200))
    assert [command.startswith("test ! -e /proc/sys/net/ipv6 || ") for command in commands] == [
        "ip -6" in command for command in commands
    ]
    assert "pref 201 iif lo to fd00:ec2::254" in commands[2]


def test_the_unit_comes_before_the_network_and_every_kubelet_and_after_who_flushes() -> None:
    """Otherwise pods would be faster, or somebody's `flush ruleset` would come later."""
    unit = systemd_unit(Layout(), rule_priority=89)
    [before] = [line for line in unit.splitlines() if line.startswith("Before=network-pre.target")]
    assert {"kubelet.service", "k3s.service"} <= set(before.split())
    [after] = [line for line in unit.splitlines() if line.startswith("After=")]
    assert "nftables.service" in after.split()
    assert unit.count("ExecStart=/bin/sh -c '") == 5
    assert "$" not in unit  # systemd would expand it
    assert "ExecStop" not in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """As it checks units itself."""
    unit = tmp_path / "ip2service-boot-rules.service"
    unit.write_text(systemd_unit(Layout(), rule_priority=89))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
