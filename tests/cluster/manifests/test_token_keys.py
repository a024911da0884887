"""The Job's command, with the Job's permissions, on the Secret of the manifests."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from iam4kube.metadata.keyfile import parse_keyring
from iam4kube.metadata.keyring import Keyring
from tests.support.installed_cluster import TOKEN_KEYS, InstalledCluster, run_token_key_job
from tests.support.manifests import BASE, container, rendered, rendered_text
from tests.support.world import run_command

pytestmark = pytest.mark.cluster


@pytest.fixture
def secret(installed: InstalledCluster) -> InstalledCluster:
    """The cluster, with the Secret as a first installation has it."""
    if "data" in installed.ask("GET", TOKEN_KEYS):
        installed.patch(TOKEN_KEYS, {"data": None})
    return installed


def data(cluster: InstalledCluster) -> dict[str, Any]:
    """What the Secret holds, encoded."""
    found: dict[str, Any] = cluster.ask("GET", TOKEN_KEYS).get("data", {})
    return found


def keyring(cluster: InstalledCluster) -> Keyring:
    """The same as a server reads it from its volume."""
    return parse_keyring(base64.b64decode(data(cluster)["keys.json"]), Path("keys.json"))


async def test_the_job_makes_one_key_and_tells_none(secret: InstalledCluster) -> None:
    """A server can use it, and what the Job's log shows is its id."""
    assert data(secret) == {}
    code, output, errors = await run_token_key_job(secret)
    [key] = keyring(secret).keys
    assert (code, output, errors) == (0, f"Secret iam4kube/iam4kube-token-keys: made key {key.id}\n", "")


async def test_the_second_time_changes_nothing(secret: InstalledCluster) -> None:
    """It runs with every upgrade."""
    await run_token_key_job(secret)
    before = secret.ask("GET", TOKEN_KEYS)
    code, output, _ = await run_token_key_job(secret)
    assert (code, output) == (0, "Secret iam4kube/iam4kube-token-keys: has keys already, nothing changed\n")
    assert secret.ask("GET", TOKEN_KEYS) == before


async def test_several_at_the_same_time_make_one_key(secret: InstalledCluster) -> None:
    """One says that it was it."""
    runs = await asyncio.gather(*(run_token_key_job(secret) for _ in range(3)))
    assert [code for code, _, _ in runs] == [0, 0, 0]
    [key] = keyring(secret).keys
    outputs = [output for _, output, _ in runs]
    assert [f"made key {key.id}" in output for output in outputs].count(True) == 1
    assert ["nothing changed" in output for output in outputs].count(True) == 2


@pytest.mark.parametrize("how", ["--server-side=false", "--server-side"])
async def test_an_upgrade_leaves_the_key_alone(secret: InstalledCluster, how: str) -> None:
    """Applied before and after, by the server and by the client: the manifests set no data, so they remove none."""
    arguments = ("apply", how, "--force-conflicts") if how == "--server-side" else ("apply", how)
    secret.kubectl(*arguments, "-f", "-", stdin=rendered_text(BASE))
    await run_token_key_job(secret)
    before = data(secret)
    secret.kubectl(*arguments, "-f", "-", stdin=rendered_text(BASE))
    assert data(secret) == before != {}


async def test_without_the_right_it_says_what_is_missing(secret: InstalledCluster) -> None:
    """In one line, with exit code 1: the Job starts it again."""
    _, *arguments = container(rendered(BASE), "Job", "iam4kube-token-keys")["command"]
    token = secret.control_plane.token("iam4kube", "iam4kube", lifetime=600)
    config = secret.kubeconfig("server", token)
    code, output, errors = await run_command(*arguments, f"--kubeconfig={config}", environment={})
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert 'cannot get resource "secrets"' in errors
    assert "get and patch on it have to be granted" in errors
