"""The Dockerfiles beside what they have to agree with: each other, .dockerignore, the manifests, the lock."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.tags import cpython_tags
from packaging.utils import parse_wheel_filename

from tests.support.dockerfile import Ignored, Stage, read_dockerfile

ROOT = Path(__file__).parents[3]
SERVER = read_dockerfile(ROOT / "Dockerfile.server")
ROUTER = read_dockerfile(ROOT / "Dockerfile.router")
IGNORED = Ignored.read(ROOT / ".dockerignore")
PYTHON = (3, 13)  # Debian 13's
ARCHITECTURES = ("x86_64", "aarch64")


def test_both_are_built_in_the_same_way() -> None:
    """One base and one way of building, but for what is installed last: neither falls behind the other."""
    assert SERVER[0] == ROUTER[0]
    assert (SERVER[1].name, SERVER[1].base) == (ROUTER[1].name, ROUTER[1].base) == ("build", "python")
    assert SERVER[1].instructions[:-1] == ROUTER[1].instructions[:-1]
    last = SERVER[1].instructions[-1].text
    assert last.replace("server iam4kube /opt/iam4kube", "router ip2service /opt/ip2service") == (
        ROUTER[1].instructions[-1].text
    )


@pytest.mark.parametrize("stages", [SERVER, ROUTER], ids=["server", "router"])
def test_what_is_copied_is_let_in_and_nothing_else(stages: list[Stage]) -> None:
    """The build's context is what the Dockerfile copies: no secret, no history, no environment of the machine's."""
    copied = [Path(word) for copy in stages[1].of("COPY") for word in copy.words[:-1]]
    assert copied
    assert [path for path in copied if path in IGNORED or not (ROOT / path).exists()] == []
    for outside in (".git/config", ".venv/bin/python", "tests/conftest.py", ".env", "dist/x.whl", "tools/build-image"):
        assert Path(outside) in IGNORED, outside
    assert Path("iam4kube/kube/__pycache__/client.cpython-313.pyc") in IGNORED
    assert Path("iam4kube/kube/client.py") not in IGNORED


@pytest.mark.parametrize(
    ("stages", "manifest"),
    [(SERVER, "server/deployment.yaml"), (ROUTER, "router/daemonset.yaml")],
    ids=["server", "router"],
)
def test_the_manifests_run_what_is_there(stages: list[Stage], manifest: str) -> None:
    """The same user, the same command, the same ports."""
    pod: dict[str, Any] = yaml.safe_load((ROOT / "manifests/base" / manifest).read_text())["spec"]["template"]["spec"]
    [container] = pod["containers"]
    image = stages[-1]
    [user], [entrypoint], [command], [expose] = (image.of(name) for name in ("USER", "ENTRYPOINT", "CMD", "EXPOSE"))
    security = pod["securityContext"]
    assert user.text == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert container["command"] == [*entrypoint.words, *command.words]
    assert expose.words == [str(port["containerPort"]) for port in container["ports"]]


def locked(extra: str) -> Iterator[dict[str, Any]]:
    """Every package that an extra brings to Linux, as it stands in the lock."""
    packages = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    environment = {"python_version": "3.13", "python_full_version": "3.13.5", "sys_platform": "linux", "extra": ""}
    project = packages["iam4kube"]
    waiting = [*project["dependencies"], *project["optional-dependencies"][extra]]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        if "marker" in wanted and not Marker(wanted["marker"]).evaluate(environment):
            continue
        package = packages[wanted["name"]]
        for part in ("", *wanted.get("extra", ())):
            if (package["name"], part) not in seen:
                seen.add((package["name"], part))
                waiting += package["optional-dependencies"][part] if part else package.get("dependencies", ())
    for name in sorted({name for name, _ in seen}):
        yield packages[name]


@pytest.mark.parametrize("extra", ["server", "router"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_locked_package_has_a_wheel(extra: str, architecture: str) -> None:
    """For Debian's Python on both architectures, because the build has no compiler; and hashes for all of them."""
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in range(41, 4, -1)]
    platforms += [f"manylinux2014_{architecture}", f"manylinux1_{architecture}", "any"]
    tags = {*cpython_tags(PYTHON, platforms=platforms)}
    names = []
    for package in locked(extra):
        names.append(package["name"])
        wheels = [wheel["url"].rpartition("/")[2] for wheel in package["wheels"]]
        pure = [wheel for wheel in wheels if wheel.endswith("-none-any.whl")]
        assert pure or any(parse_wheel_filename(wheel)[3] & tags for wheel in wheels), package["name"]
        assert all(wheel["hash"].startswith("sha256:") for wheel in package["wheels"]), package["name"]
    assert len(names) > 30
    assert ("boto3" in names, "pyroute2" in names) == (extra == "server", extra == "router")
