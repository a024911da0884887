"""The router's commands on a real kernel, each in a process of its own, without any API server."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from iam4kube.sandbox.network import Namespace
from ip2service.boot import RULES_FILE, boot_commands
from ip2service.layout import Layout

pytestmark = pytest.mark.netns

ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
RUN = ("run", "--node-name=node-a", "--admin-listen=127.0.0.1:0", "--log-format=json")


@pytest.fixture
def node() -> Iterator[Namespace]:
    """A node with nothing on it."""
    with Namespace() as namespace:
        shell(namespace, "ip link set lo up")
        yield namespace


def shell(node: Namespace, command: str) -> str:
    """What a shell command prints there. Raises `CalledProcessError`."""
    arguments = node.command("sh", "-c", command)
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def state(node: Namespace) -> str:
    """All rules of all kinds, without counts."""
    return shell(node, "nft --stateless list ruleset; ip -4 rule; ip -6 rule")


async def started(node: Namespace, *arguments: str) -> asyncio.subprocess.Process:
    """`ip2service` with these arguments."""
    command = node.command(sys.executable, "-m", "ip2service", *arguments)
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, env=ENVIRONMENT, stdout=pipe, stderr=pipe)


async def run(node: Namespace, *arguments: str) -> tuple[int, str, str]:
    """The same to its end: exit code, standard output, standard error."""
    process = await started(node, *arguments)
    async with asyncio.timeout(30):
        output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def waiting_router(node: Namespace, folder: Path) -> asyncio.subprocess.Process:
    """A router that has its guards in place, and tries again and again to reach an API server."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nusers: [{name: a, user: {}}]\n"
        'clusters: [{name: a, cluster: {server: "http://127.0.0.1:1"}}]\n'
        "contexts: [{name: a, context: {cluster: a, user: a}}]\n"
    )
    router = await started(node, *RUN, f"--kubeconfig={kubeconfig}")
    assert router.stderr is not None
    async with asyncio.timeout(20):
        while b"List or watch failed" not in await router.stderr.readline():
            pass
    return router


async def test_boot_commands_may_be_run_as_often_as_one_likes(node: Namespace, tmp_path: Path) -> None:
    """As the systemd unit runs them: the second time nothing changes, and nothing fails."""
    rules = tmp_path / "boot-rules.nft"
    rules.write_text((await run(node, "boot-rules"))[1])
    shell(node, f"nft --check --file {rules}")
    commands = [command.replace(RULES_FILE, str(rules)) for command in boot_commands(Layout(), rule_priority=89)]
    for command in commands:
        shell(node, command)
    first = state(node)
    for command in commands:
        shell(node, command)
    assert state(node) == first
    assert first.count("ip daddr 169.254.169.254 meta l4proto tcp") == 2
    assert "91:\tfrom all to 169.254.169.254 prohibit" in first
    with pytest.raises(subprocess.CalledProcessError, match="returned non-zero"):
        shell(node, f"nft --file {rules}")
    assert state(node) == first


async def test_check_knows_the_boot_rules(node: Namespace, tmp_path: Path) -> None:
    """Nothing gets through, and nothing is routed yet."""
    code, output, _ = await run(node, "check", "--json")
    assert (code, json.loads(output)["healthy"]) == (1, False)
    rules = tmp_path / "boot-rules.nft"
    rules.write_text((await run(node, "boot-rules"))[1])
    for command in boot_commands(Layout(), rule_priority=89):
        shell(node, command.replace(RULES_FILE, str(rules)))
    code, output, _ = await run(node, "check", "--json")
    levels = {finding["about"]: finding["level"] for finding in json.loads(output)["findings"]}
    assert (code, levels) == (1, {"guard": "good", "policy rules": "good", "routing": "bad"})


async def test_a_router_without_an_api_server_guards_and_goes_without_a_trace_of_haste_r25(
    node: Namespace, tmp_path: Path
) -> None:
    """Guards are there while it waits; SIGTERM leaves them, and `uninstall` leaves nothing."""
    before = state(node)
    router = await waiting_router(node, tmp_path)
    guarded = state(node)
    assert "table inet ip2service_guard" in guarded
    router.send_signal(signal.SIGTERM)
    async with asyncio.timeout(2):
        _, errors = await router.communicate()
    last = json.loads(errors.splitlines()[-1])
    assert router.returncode == 0
    assert last["message"] == "Stopped; the rules stay in place"
    assert "ip2service uninstall" in last["hint"]
    assert state(node) == guarded
    code, output, _ = await run(node, "uninstall")
    assert code == 0
    assert "removed table inet ip2service_guard" in output
    assert "reach the real metadata service" in output
    assert state(node) == before
    assert await run(node, "uninstall") == (0, "nothing to remove\n", "")


async def test_a_missing_kubeconfig_is_told_once_the_guards_stand_r21(node: Namespace) -> None:
    """A node whose router is configured wrongly refuses."""
    code, output, errors = await run(node, *RUN, "--kubeconfig=/nowhere/config")
    assert (code, output) == (2, "")
    assert "ip2service: kubeconfig /nowhere/config: no such file" in errors
    assert "table inet ip2service_guard" in state(node)


@pytest.mark.parametrize("arguments", [["run", "--node-name=a", "--mode=proxy"], [*RUN, "--admin-listen=192.0.2.1:1"]])
async def test_a_wrong_flag_changes_nothing(node: Namespace, arguments: list[str]) -> None:
    """One line, exit code 2, and the node as it was."""
    before = state(node)
    code, output, errors = await run(node, *arguments)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert state(node) == before


@pytest.mark.parametrize("arguments", [RUN, ("uninstall",)])
async def test_a_table_of_somebody_else_changes_nothing(node: Namespace, arguments: tuple[str, ...]) -> None:
    """Neither the router nor its removal touches it."""
    shell(node, "nft add table inet ip2service '{ comment \"mine\"; }'")
    before = state(node)
    code, output, errors = await run(node, *arguments)
    assert (code, output) == (2, "")
    assert "ip2service: table inet ip2service belongs to somebody else" in errors
    assert state(node) == before


async def test_uninstall_notices_a_router_that_still_runs(node: Namespace, tmp_path: Path) -> None:
    """It has repaired everything before anybody could believe that it is gone."""
    router = await waiting_router(node, tmp_path)
    try:
        code, _, errors = await run(node, "uninstall")
        assert code == 1
        assert "a router still runs here" in errors
    finally:
        router.send_signal(signal.SIGTERM)
        await router.communicate()


def test_without_the_capability_each_command_says_so(node: Namespace) -> None:
    """Exit code 2: it cannot tell, and nothing has changed."""
    before = state(node)
    drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all", "--ambient-caps=-all"]
    for arguments in (RUN, ("check",), ("uninstall",)):
        command = node.command(*drop, sys.executable, "-m", "ip2service", *arguments)
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        lines = [line for line in done.stderr.splitlines() if line.startswith("ip2service: ")]
        assert (done.returncode, len(lines)) == (2, 1), done.stderr
        assert "the capability NET_ADMIN is missing: grant it" in lines[0]
    assert state(node) == before
