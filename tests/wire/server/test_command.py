"""The command as people and probes use it, in processes of its own."""

import os
from pathlib import Path

from iam4kube import __version__
from tests.support.world import World, run_command

NOTHING = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}


async def test_version_and_help_import_none_of_the_heavy_libraries() -> None:
    """kubernetes, boto3 and FastAPI together take 0.6 s: a probe must not pay for them."""
    assert await run_command("--version", environment=NOTHING) == (0, f"iam4kube {__version__}\n", "")
    code, _, imported = await run_command("--help", environment={**NOTHING, "PYTHONPROFILEIMPORTTIME": "1"})
    assert code == 0
    loaded = {line.rpartition("|")[2].strip() for line in imported.splitlines()}
    assert not loaded & {"kubernetes", "boto3", "botocore", "fastapi", "aiohttp", "moto", "asyncio"}


async def test_help_names_every_command_and_no_command_is_a_mistake() -> None:
    """What a newcomer types first."""
    code, output, _ = await run_command("--help", environment=NOTHING)
    assert code == 0
    for command in ("serve", "demo", "check-health", "token-key"):
        assert command in output
    code, _, errors = await run_command(environment=NOTHING)
    assert code == 2
    assert errors.count("\n") == 1


async def test_a_rotation_of_token_keys_is_five_commands(tmp_path: Path) -> None:
    """new, add, sign, remove; list shows ids and never a secret."""
    path = str(tmp_path / "keys.json")

    async def token_key(*arguments: str) -> tuple[int, str, str]:
        return await run_command("token-key", *arguments, environment=NOTHING)

    assert (await token_key("new", path, "--id", "first"))[0] == 0
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    code, _, errors = await token_key("new", path)
    assert code == 2
    assert "exists" in errors
    assert (await token_key("add", path, "--id", "second"))[0] == 0
    code, _, errors = await token_key("remove", path, "first")
    assert code == 2
    assert "signs" in errors
    assert (await token_key("sign", path, "second"))[0] == 0
    assert (await token_key("remove", path, "first"))[0] == 0
    code, output, _ = await token_key("list", path)
    assert code == 0
    assert output.startswith("second  signs")
    assert (await token_key("sign", path, "third"))[0] == 2


async def test_check_health_asks_the_replica_of_the_same_container(world: World) -> None:
    """Live at once, ready when it is ready, 1 and a line when nobody answers."""
    hold = world.kubernetes.faults.forbid(verb="list", resource="pods")
    async with world.replica(ready=False) as replica:
        environment = {**NOTHING, "IAM4KUBE_ADMIN_LISTEN": f":{replica.ports.admin}"}
        assert await run_command("check-health", environment=environment) == (0, "ok\n", "")
        code, output, _ = await run_command("check-health", "ready", environment=environment)
        assert code == 1
        assert "the first list is not complete" in output
        hold.lift()
        await replica.become_ready()
        assert (await run_command("check-health", "ready", environment=environment))[0] == 0
    code, output, errors = await run_command("check-health", environment=environment)
    assert (code, output) == (1, "")
    assert f"port {replica.ports.admin}" in errors
