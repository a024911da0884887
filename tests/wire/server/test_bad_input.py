"""Mistakes at start: the real command ends with exit code 2 and one line that names the setting and the remedy."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.world import World, run_command

Flags = Callable[[World], list[str]]


def replaced(world: World, *flags: str) -> list[str]:
    """The flags of a good replica, with some given anew: the last one counts."""
    return [*world.flags(), *flags]


def written(path: Path, content: str) -> Path:
    """A file with this content."""
    path.write_text(content)
    return path


def without_key(world: World) -> list[str]:
    """No token keys at all."""
    return [flag for flag in world.flags() if not flag.startswith("--token-key-file")]


MISTAKES: list[tuple[str, Flags, list[str]]] = [
    (
        "a region that is none",
        lambda world: replaced(world, "--sts-region=not a region"),
        ["AWS configuration", "not a region", "--sts-region", "AWS_PROFILE"],
    ),
    (
        "two listeners at one place",
        lambda world: replaced(world, "--listen=127.0.0.1:18080", "--admin-listen=:18080"),
        ["--listen is '127.0.0.1:18080'", "--admin-listen is ':18080'", "give them different ports"],
    ),
    (
        "a kubeconfig that is none",
        lambda world: replaced(world, f"--kubeconfig={written(world.folder / 'text', 'hello')}"),
        ["no kubeconfig", "--kubeconfig"],
    ),
    (
        "a context that is not there",
        lambda world: replaced(world, "--context=nowhere"),
        ["nowhere", "--context"],
    ),
    (
        "an unknown flag",
        lambda world: replaced(world, "--sts-rat=3"),
        ["'--sts-rat'", "did you mean --sts-rate?"],
    ),
    (
        "a value of the wrong kind",
        lambda world: replaced(world, "--request-deadline=soon"),
        ["--request-deadline", "'soon'", "expected a duration such as 15s", "IAM4KUBE_REQUEST_DEADLINE"],
    ),
    (
        "no token keys",
        without_key,
        ["--token-key-file", "IAM4KUBE_TOKEN_KEY_FILE", "iam4kube token-key new FILE", "--generate-token-key"],
    ),
    (
        "a missing token key file",
        lambda world: replaced(world, "--token-key-file=/nowhere/keys.json"),
        ["--token-key-file", "/nowhere/keys.json", "does not exist", "iam4kube token-key new FILE"],
    ),
    (
        "a token key file that is none",
        lambda world: replaced(world, f"--token-key-file={written(world.folder / 'keys', 'secret')}"),
        ["--token-key-file", "is not a token key file", "iam4kube token-key new FILE"],
    ),
    (
        "a missing kubeconfig",
        lambda world: replaced(world, "--kubeconfig=/nowhere/config"),
        ["kubeconfig /nowhere/config", "no such file", "--kubeconfig"],
    ),
    (
        "a kubeconfig that is not YAML",
        lambda world: replaced(world, f"--kubeconfig={written(world.folder / 'config', '{not: [yaml')}"),
        ["kubeconfig", "not YAML"],
    ),
    (
        "a context that the kubeconfig does not have",
        lambda world: replaced(world, "--context=production"),
        ["kubeconfig", "production"],
    ),
    (
        "an address of another machine",
        lambda world: replaced(world, "--admin-listen=192.0.2.1:9090"),
        ["--admin-listen", "'192.0.2.1:9090'", "no such address"],
    ),
]


@pytest.mark.parametrize(("flags", "words"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
async def test_a_mistake_ends_the_start_with_one_line(world: World, flags: Flags, words: list[str]) -> None:
    """Exit code 2, one line on standard error, nothing on standard output, no traceback."""
    code, output, errors = await run_command("serve", *flags(world), environment=world.environment())
    lines = [line for line in errors.splitlines() if line.startswith("iam4kube: ")]
    assert (code, output) == (2, ""), errors
    assert len(lines) == len(errors.splitlines()) == 1, errors
    assert [word for word in words if word not in lines[0]] == []


async def test_a_port_in_use_is_told_by_its_setting(world: World) -> None:
    """The commonest mistake of all."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flag = f"--listen=127.0.0.1:{taken.getsockname()[1]}"
        code, _, errors = await run_command("serve", *world.flags(), flag, environment=world.environment())
    assert code == 2
    assert errors.startswith("iam4kube: --listen is ")
    assert "another process listens there" in errors


async def test_without_a_region_it_names_the_ways_to_set_one(world: World) -> None:
    """STS is regional, and neither settings, environment nor instance metadata say where."""
    environment = {name: value for name, value in world.environment().items() if "REGION" not in name}
    code, _, errors = await run_command("serve", *world.flags(), environment=environment)
    assert code == 2
    assert errors.count("\n") == 1
    assert "--sts-region or IAM4KUBE_STS_REGION or AWS_REGION" in errors


async def test_in_a_pod_without_its_token_it_says_what_to_do(world: World) -> None:
    """A pod with automountServiceAccountToken off."""
    cluster = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    flags = [flag for flag in world.flags() if not flag.startswith("--kubeconfig")]
    code, _, errors = await run_command("serve", *flags, environment={**world.environment(), **cluster})
    assert code == 2
    assert errors.count("\n") == 1
    assert "automountServiceAccountToken" in errors
    assert "--kubeconfig" in errors


async def test_several_mistakes_are_told_at_once(world: World) -> None:
    """One line each."""
    code, _, errors = await run_command(
        "serve", *world.flags("--sts-rate=fast", "--log-level=loud"), environment=world.environment()
    )
    assert code == 2
    assert [line.split()[1] for line in errors.splitlines()] == ["--sts-rate", "--log-level"]


async def test_without_an_api_server_it_keeps_trying_and_says_so(world: World) -> None:
    """No mistake of ours: log, metric and /readyz name it, and it gets ready once there is one."""
    await world.kubernetes.stop()
    async with world.replica(ready=False) as replica:
        await replica.until(lambda: replica.logged("List or watch failed", resource="pods"))
        report = await replica.admin("/readyz")
        assert report.status == 503
        assert any(f"127.0.0.1:{world.kubernetes.port}" in line for line in report.json["missing"])
        failures = 'iam4kube_watch_failures_total{reason="unreachable",resource="pods"}'
        assert await replica.metric(failures) >= 1
        await world.kubernetes.start()
        await replica.become_ready()


async def test_without_sts_it_keeps_trying_and_says_so(world: World) -> None:
    """The replica is up, waits, and names STS."""
    world.add_pod("127.0.1.1", role="orders", name="orders")
    await world.sts.stop()
    async with world.replica(ready=False) as replica:
        await replica.until(lambda: replica.logged("Listed", resource="serviceaccounts"))
        await replica.until(lambda: any("STS" in message for message in replica.messages))
        report = await replica.admin("/readyz")
        assert report.status == 503
        assert report.json["missing"] != []
        await world.sts.start()
        await replica.become_ready()
