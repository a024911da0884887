"""Finding and reading a configuration: what is chosen, and one clear line for whatever is wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from iam4kube.kube.configuration import InCluster, Kubeconfig, find_configuration, fingerprint
from iam4kube.kube.errors import KubeConfigError

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def written(path: Path, *, user: Mapping[str, Any], context: str = "here") -> Path:
    """A kubeconfig with one context."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
        "current-context": context,
    }
    path.write_text(json.dumps(config))
    return path


def plugin(folder: Path, script: str) -> dict[str, Any]:
    """A user whose credentials come from a program."""
    program = folder / "plugin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program)}}


@pytest.mark.parametrize(
    ("kubeconfig", "context", "environ", "chosen"),
    [
        (Path("/k"), None, IN_CLUSTER, Kubeconfig(paths=(Path("/k"),))),
        (Path("/k"), "c", {}, Kubeconfig(paths=(Path("/k"),), context="c")),
        (None, None, IN_CLUSTER, InCluster(environ=IN_CLUSTER)),
        (None, "c", IN_CLUSTER | {"KUBECONFIG": "/a:/b"}, Kubeconfig(paths=(Path("/a"), Path("/b")), context="c")),
        (None, None, {"KUBECONFIG": "/a"}, Kubeconfig(paths=(Path("/a"),))),
        (None, None, {"HOME": "/home/me"}, Kubeconfig(paths=(Path("/home/me/.kube/config"),))),
    ],
)
def test_what_is_chosen(
    kubeconfig: Path | None, context: str | None, environ: dict[str, str], chosen: InCluster | Kubeconfig
) -> None:
    """What is named, else the cluster that we run in, else what kubectl would use."""
    assert find_configuration(kubeconfig=kubeconfig, context=context, environ=environ) == chosen


async def test_a_missing_kubeconfig_says_so(tmp_path: Path) -> None:
    """The message names the file and the remedy."""
    with pytest.raises(KubeConfigError, match="no such file; name one with --kubeconfig"):
        await Kubeconfig(paths=(tmp_path / "none",)).load()


@pytest.mark.parametrize(
    "text", ["{", "a: [", "", "just text", "[]", "clusters: 1\ncontexts: 1\n", "\t- x", '{"contexts": []}']
)
async def test_an_unreadable_kubeconfig_is_one_line(tmp_path: Path, text: str) -> None:
    """Whatever is in the file, the error is one line with its name."""
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KubeConfigError) as raised:
        await Kubeconfig(paths=(path,)).load()
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    """The message says which context is missing."""
    path = written(tmp_path / "config", user={"token": "t"})
    with pytest.raises(KubeConfigError, match="elsewhere"):
        await Kubeconfig(paths=(path,), context="elsewhere").load()


async def test_a_plugin_brings_the_token(tmp_path: Path) -> None:
    """A credential plugin is run, and what it prints is used."""
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    path = written(tmp_path / "config", user=plugin(tmp_path, f"echo '{json.dumps(answer)}'"))
    configuration = await Kubeconfig(paths=(path,)).load()
    assert configuration.api_key["BearerToken"] == "Bearer from-plugin"


async def test_a_plugin_that_fails_is_no_anonymous_client(tmp_path: Path) -> None:
    """Without its credentials we would go on as nobody, and be refused somewhere else."""
    path = written(tmp_path / "config", user=plugin(tmp_path, "exit 1"))
    with pytest.raises(KubeConfigError, match="credential plugin"):
        await Kubeconfig(paths=(path,)).load()


async def test_the_fingerprint_follows_the_token_file(tmp_path: Path) -> None:
    """The same configuration has the same fingerprint; a new token, another one."""
    token = tmp_path / "token"
    token.write_text("one")
    source = Kubeconfig(paths=(written(tmp_path / "config", user={"tokenFile": str(token)}),))
    first, second = fingerprint(await source.load()), fingerprint(await source.load())
    token.write_text("two")
    assert first == second
    assert fingerprint(await source.load()) != first


@pytest.mark.parametrize(
    ("files", "environ", "message"),
    [
        ({}, IN_CLUSTER, "token file does not exist"),
        ({"token": "t"}, IN_CLUSTER, "certification file does not exist"),
        ({"token": "\n", "ca.crt": "x"}, IN_CLUSTER, "empty"),
        ({"token": "", "ca.crt": "x"}, IN_CLUSTER, "empty"),
        ({"token": "t", "ca.crt": "x"}, {}, "host/port is not set"),
    ],
)
async def test_what_is_missing_in_a_pod_is_named(
    tmp_path: Path, files: dict[str, str], environ: dict[str, str], message: str
) -> None:
    """Token, CA, or the address of the API server."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(KubeConfigError, match=message):
        await InCluster(environ=environ, directory=tmp_path).load()
