"""The command as people and pipes use it, in processes of its own. What touches the kernel is in tests/netns."""

import asyncio
import os
import sys

import pytest

from iam4kube import __version__
from tests.support.commands import Ended, run_to_end

NOTHING = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
HEAVY = {"kubernetes", "boto3", "botocore", "fastapi", "aiohttp", "moto", "asyncio", "nftables", "pyroute2", "uvicorn"}


async def command(*arguments: str, **environment: str) -> Ended:
    """Run it in an environment of nothing but these."""
    return await run_to_end(sys.executable, "-m", "ip2service", *arguments, environment={**NOTHING, **environment})


def imported(errors: str) -> set[str]:
    """What Python says that it has imported."""
    return {line.rpartition("|")[2].strip() for line in errors.splitlines()}


@pytest.mark.parametrize("arguments", [["--help"], ["rules"], ["boot-rules"], ["boot-rules", "--systemd-unit"]])
async def test_what_needs_no_kernel_imports_nothing_that_talks_to_one(arguments: list[str]) -> None:
    """Neither libnftables nor a cluster's client have to be there."""
    code, output, errors = await command(*arguments, PYTHONPROFILEIMPORTTIME="1")
    assert (code, bool(output)) == (0, True)
    assert imported(errors) & HEAVY == set()


async def test_version_is_that_of_the_distribution() -> None:
    """One for both programs."""
    assert await command("--version") == (0, f"ip2service {__version__}\n", "")


async def test_help_names_every_command_and_no_command_is_a_mistake() -> None:
    """What a newcomer types first."""
    code, output, _ = await command("--help")
    assert code == 0
    commands = output.partition("commands:")[2].split()
    assert {"run", "check", "rules", "boot-rules", "uninstall"} <= set(commands)
    code, _, errors = await command()
    assert (code, errors.count("\n")) == (2, 1)


@pytest.mark.parametrize("name", ["run", "check", "rules", "boot-rules", "uninstall"])
async def test_each_command_explains_itself(name: str) -> None:
    """Its settings with their variables, and examples as they are typed."""
    code, output, _ = await command(name, "--help", COLUMNS="80")
    assert code == 0
    assert "IP2SERVICE_INTERCEPT_ADDRESS" in output
    assert ("IP2SERVICE_NODE_NAME" in output) is (name == "run")


async def test_rules_are_two_tables_and_the_policy_rules_as_commands() -> None:
    """By the settings; no nft understands a policy rule, so they are comments."""
    code, output, _ = await command("rules", "--rule-priority=200", IP2SERVICE_MODE="endpoints")
    assert code == 0
    assert [line for line in output.splitlines() if line.startswith("table ")] == [
        "table inet ip2service_guard {",
        "table inet ip2service {",
    ]
    assert "chain balance" in output
    assert "# ip -6 rule add pref 202 to fd00:ec2::254 prohibit" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], ["--node-name is required"]),
        (["run", "--node-name=a", "--mod=endpoints"], ["'--mod'", "did you mean --mode?"]),
        (["rules", "--node-name=a"], ["'--node-name' is not known"]),
        (["check", "--rule-priority=40000"], ["'40000'", "at most 32763"]),
        (["boot-rules", "--intercept-address=x"], ["--intercept-address", "'x'"]),
    ],
)
async def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], words: list[str]) -> None:
    """Nothing on standard output, and no traceback."""
    code, output, errors = await command(*arguments)
    assert (code, output) == (2, "")
    assert errors.startswith("ip2service: ")
    assert errors.count("\n") == 1
    assert [word for word in words if word not in errors] == []


@pytest.mark.parametrize("name", ["rules", "boot-rules"])
async def test_a_reader_that_has_had_enough_gets_no_traceback(name: str) -> None:
    """As `head` in `ip2service rules | head -n 1`; here it is gone before the first line."""
    unread, output = os.pipe()
    os.close(unread)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ip2service", name, env=NOTHING, stdout=output, stderr=asyncio.subprocess.PIPE
    )
    os.close(output)
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (141, b"")
