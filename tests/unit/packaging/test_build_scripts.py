"""What a release builds: the images' command line, held without an engine, and the files beside them, for real."""

import json
import os
import shlex
import subprocess
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

from iam4kube import __version__

ROOT = Path(__file__).parents[3]
BASE_DIGEST = f"sha256:{'b' * 64}"
DIGEST = f"sha256:{'d' * 64}"

# Answers as `docker buildx` does, and writes down what it is asked for.
DOCKER = f"""#!/bin/sh
printf '%s\\n' "$*" >> "$ASKED"
case "$*" in
"buildx imagetools inspect debian:trixie-slim "*) echo {BASE_DIGEST} ;;
"buildx build "*) echo progress; for last; do :; done; echo '{{"containerimage.digest": "{DIGEST}"}}' > "$last" ;;
*) exit 1 ;;
esac
"""


def run(*command: str, **environment: str) -> str:
    """What a script of tools/ prints."""
    path = f"{ROOT}/.uv/bin:{os.environ['PATH']}"  # where tools/environment puts uv, if there was none
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("component", "program"), [("server", "iam4kube"), ("router", "ip2service")])
def test_an_image_is_built_on_a_digest_and_named_by_the_version(tmp_path: Path, component: str, program: str) -> None:
    """Both architectures, times rewritten, provenance and contents attached; only the digest is printed."""
    asked, docker = tmp_path / "asked", tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    name = f"registry.example.com/team/{program}"
    printed = run("tools/build-image", component, name, PATH=f"{tmp_path}:{os.environ['PATH']}", ASKED=str(asked))
    assert printed == f"{DIGEST}\n"
    words = shlex.split(asked.read_text().splitlines()[-1])
    assert words[:5] == ["buildx", "build", ".", "--file", f"Dockerfile.{component}"]
    assert (ROOT / words[4]).exists()
    given = dict(pairwise(words))
    assert given["--platform"] == "linux/amd64,linux/arm64"
    assert given["--build-arg"] == f"BASE=debian:trixie-slim@{BASE_DIGEST}"
    assert given["--output"] == f"type=image,name={name}:{__version__},push=true,rewrite-timestamp=true"
    assert (given["--provenance"], given["--sbom"]) == ("mode=max", "true")
    assert f"org.opencontainers.image.version={__version__}" in words


def test_distributions_hold_both_packages_and_name_what_they_bring(tmp_path: Path) -> None:
    """A wheel with the two packages and nothing else; for each program the packages of its own image, with hashes."""
    run("tools/build-distributions", str(tmp_path))
    names = {path.name for path in tmp_path.iterdir()}
    wheel = f"iam4kube-{__version__}-py3-none-any.whl"
    assert names == {
        wheel,
        f"iam4kube-{__version__}.tar.gz",
        f"iam4kube-{__version__}.cdx.json",
        f"ip2service-{__version__}.cdx.json",
    }
    with zipfile.ZipFile(tmp_path / wheel) as opened:
        inside = opened.namelist()
    assert {name.partition("/")[0] for name in inside} == {
        "iam4kube",
        "ip2service",
        f"iam4kube-{__version__}.dist-info",
    }
    assert {"iam4kube/py.typed", "ip2service/py.typed"} <= set(inside)
    for program, has, has_not in (("iam4kube", "boto3", "pyroute2"), ("ip2service", "pyroute2", "boto3")):
        bill = json.loads((tmp_path / f"{program}-{__version__}.cdx.json").read_text())
        assert bill["bomFormat"] == "CycloneDX"
        components = {component["name"]: component for component in bill["components"]}
        assert has in components
        assert not {has_not, "moto", "pytest"} & components.keys()
        assert all(each["purl"] and each["externalReferences"][0]["hashes"] for each in components.values())
