"""What is in the images, and that the programs run from them: as their user, in a read-only root file system."""

import asyncio
import hashlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from iam4kube import __version__
from iam4kube.metadata.keyfile import create_key_file
from iam4kube.metadata.keyring import new_keyring
from iam4kube.runtime.clock import utc_now
from iam4kube.sandbox.network import METADATA_IPV4
from ip2service.layout import Mode
from tests.support.image import Image, command_in
from tests.support.image_builder import ImageBuilder
from tests.support.node_lab import NodeLab
from tests.support.router_lab import RouterLab
from tests.support.world import ReplicaProcess, World, replica_flags, role_arn
from tests.wire.packaging.conftest import KEPT, ROOT

# The first run bootstraps Debian, which takes a minute or two; a later one takes some seconds for each image.
pytestmark = [pytest.mark.image, pytest.mark.timeout(600)]

POD = "127.0.1.1"
SERVER_USER = 65532


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """An empty folder, where processes mount their image; each sees its own."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """What processes find at /mnt."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


def run(image: Image, *command: str, at: Path, under: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a command in an image; returns its exit code and all that it has said."""
    done = subprocess.run(
        [*under, *command_in(image, at=at), *command],
        env=dict(image.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def tree(image: Image) -> Path:
    """What the last layer of an image holds below /opt: the program with its packages."""
    [program] = (image.layers[-1] / "opt").iterdir()
    return program


def packages(image: Image) -> set[str]:
    """The top-level names that can be imported from an image's tree."""
    [site] = tree(image).glob("lib/python3.*/site-packages")
    return {path.name.removesuffix(".py") for path in site.iterdir()}


def digest(folder: Path) -> str:
    """Of every path below a folder: its mode, owner, time, and content or target."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content = bytes(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found.update(repr((str(path.relative_to(folder)), state.st_mode, state.st_uid, state.st_mtime)).encode())
        found.update(hashlib.sha256(content).digest())
    return found.hexdigest()


def test_each_program_has_what_it_needs_and_nothing_of_the_other(server_image: Image, router_image: Image) -> None:
    """No boto3 and no FastAPI on worker nodes; no netlink in the server; nothing of tests, types or the sandbox."""
    for_tests = {"pytest", "mypy", "hypothesis", "moto", "flask", "werkzeug", "ruff"}
    only_server = {"boto3", "botocore", "s3transfer", "fastapi", "aiolimiter"}
    only_router = {"pyroute2", "nftables"}
    assert only_server <= packages(server_image)
    assert only_router <= packages(router_image)
    assert not packages(server_image) & (only_router | for_tests | {"pip"})
    assert not packages(router_image) & (only_server | for_tests | {"pip"})
    assert [path.name for path in tree(server_image).glob("bin/[!p]*")] == ["iam4kube"]
    assert [path.name for path in tree(router_image).glob("bin/[!p]*")] == ["ip2service"]


def test_nothing_that_builds_is_left(image: Image, at: Path) -> None:
    """Neither pip nor uv nor a compiler nor sources nor caches."""
    tools = "for each in pip pip3 uv gcc cc make git curl; do command -v $each; done"
    folders = "ls -d /build /uv /var/cache/uv ~root/.cache"
    _, found = run(image, "sh", "-c", f"({tools}; {folders}) 2>/dev/null", at=at)
    assert found == ""
    assert run(image, "python3", "-m", "pip", "--version", at=at)[0] == 1


def test_nothing_can_be_written_and_nothing_has_to_be(image: Image) -> None:
    """All of it is root's and for reading; each module has bytecode that is valid whatever its source's time is."""
    sources = 0
    for path in tree(image).rglob("*"):
        state = path.lstat()
        assert state.st_uid == state.st_gid == 0, path
        assert path.is_symlink() or state.st_mode & 0o022 == 0, path
        assert path.is_symlink() or state.st_mode & 0o004, path
        if path.suffix == ".pyc":
            unchecked_hash = 0b01
            assert path.read_bytes()[4] == unchecked_hash, path
        sources += path.suffix == ".py"
    assert sources == sum(1 for _ in tree(image).rglob("*.pyc")) > 500


def test_it_is_as_small_as_it_was(server_image: Image, router_image: Image) -> None:
    """What comes on top of Debian and its Python: a new package of some size is seen here, not on a thousand nodes."""
    for image, megabytes in ((server_image, 85), (router_image, 78)):
        size = sum(path.lstat().st_size for path in tree(image).rglob("*") if path.is_file())
        assert size < megabytes << 20, f"{size >> 20} MiB"


def test_the_same_sources_give_the_same_bytes(server_image: Image, tmp_path: Path) -> None:
    """Built twice from the lock: every file's name, content, mode, owner and time."""
    again = ImageBuilder(ROOT, folder=tmp_path / "again", kept=KEPT).build(ROOT / "Dockerfile.server")
    assert again.layers[-1] != server_image.layers[-1]
    assert digest(tree(again)) == digest(tree(server_image))


def test_the_server_starts_as_its_user(server_image: Image, at: Path) -> None:
    """Help and version; without a key for tokens one line and 2; without a replica to ask one line and 1."""
    assert server_image.user == f"{SERVER_USER}:{SERVER_USER}"
    assert run(server_image, "id", "--user", at=at) == (0, f"{SERVER_USER}\n")
    assert run(server_image, "iam4kube", "--version", at=at) == (0, f"iam4kube {__version__}\n")
    assert run(server_image, "iam4kube", "--help", at=at)[0] == 0
    code, said = run(server_image, *server_image.entrypoint, *server_image.command, at=at)
    assert (code, said.count("\n")) == (2, 1), said
    assert "--token-key-file" in said
    code, said = run(server_image, "iam4kube", "check-health", at=at)
    assert (code, said.count("\n")) == (1, 1), said


@asynccontextmanager
async def replica_in(image: Image, world: World, *, at: Path, shared: Path) -> AsyncIterator[ReplicaProcess]:
    """A replica from the image in a test's world; what it may read is in `shared`."""
    create_key_file(shared / "token-keys.json", new_keyring(now=utc_now()))
    shutil.chown(shared / "token-keys.json", SERVER_USER)
    world.kubernetes.kubeconfig(shared / "kubeconfig")
    files = {"kubeconfig": Path("/mnt/kubeconfig"), "key_file": Path("/mnt/token-keys.json")}
    flags = replica_flags("--drain-time=200ms", **files)
    replica = ReplicaProcess(
        await asyncio.create_subprocess_exec(
            *command_in(image, at=at, shared=shared),
            *image.entrypoint,
            *image.command,
            *flags,
            env={**image.environment, "AWS_EC2_METADATA_DISABLED": "true", **world.sts.environment()},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    )
    try:
        yield replica
    finally:
        await replica.kill()


async def test_the_server_serves(server_image: Image, tmp_path: Path, at: Path, shared: Path) -> None:
    """Credentials for a pod, through what is left of kubernetes and botocore; SIGTERM ends it in order."""
    async with World(tmp_path) as world:
        world.add_pod(POD, role="orders", name="orders")
        async with replica_in(server_image, world, at=at, shared=shared) as replica:
            await replica.become_ready()
            assert (await replica.credentials(POD))["Code"] == "Success"
            assert (await replica.admin("/metrics")).status == 200
            replica.terminate()
            assert await replica.exit_code() == 0, replica.output
        assert [call.role_arn for call in world.sts.calls if call.action == "AssumeRole"] == [role_arn("orders")]


def test_the_router_reaches_the_kernel(router_image: Image, at: Path) -> None:
    """Through Debian's libnftables and through netlink, in a network of its own that has no rules."""
    assert router_image.user == "0:0"
    assert run(router_image, "ip2service", "--version", at=at) == (0, f"ip2service {__version__}\n")
    code, said = run(router_image, "ip2service", "rules", at=at)
    assert code == 0
    assert "table inet ip2service_guard" in said
    code, said = run(router_image, "ip2service", "check", at=at, under=("unshare", "--net"))
    assert code == 1, said
    assert "Traceback" not in said
    code, said = run(router_image, "ip2service", "uninstall", at=at, under=("unshare", "--net"))
    assert (code, said) == (0, "nothing to remove\n")


@pytest.mark.netns
async def test_the_router_routes(router_image: Image, at: Path, shared: Path) -> None:
    """A pod's connection arrives at a server, by rules that the image's program has made in a node of its own."""
    # What follows names this machine's Python, -m and the program: in the image, the program is a command.
    inside = (*command_in(router_image, at=at, shared=shared), "sh", "-c", 'shift; exec "$@"')
    async with NodeLab() as lab, RouterLab(lab, Mode.ENDPOINTS, folder=shared) as routed:
        await routed.serve(lab.server("one"))
        flags = ("--kubeconfig=/mnt/kubeconfig",)
        async with routed.router(*flags, wrapper=inside, environ=router_image.environment) as router:
            await router.until_ready()
            await routed.until_answered(METADATA_IPV4, by="one")
            assert await router.terminate() == 0
