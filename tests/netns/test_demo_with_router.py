"""The demo with the router as a person runs it: as root, as an ordinary user, and where it cannot run."""

import asyncio
import os
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from iam4kube.sandbox.demo.cast import NODE_SESSION_ARN, ORDERS
from iam4kube.sandbox.demo.routed_scenes import ROUTED_SCENES
from tests.support.demo_process import read_until, running

pytestmark = pytest.mark.netns

DEMO = ("-m", "iam4kube", "demo", "--with-router")
ORDINARY_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""Without any capability in the network that it finds itself in, though it reads the same files."""
WITHOUT_NAMESPACES = (
    *("unshare", "--map-root-user", "sh", "-c"),
    'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"',
    "sh",
)
WITHOUT_PARAMETERS = (
    *("unshare", "--map-root-user", "--mount", "sh", "-c"),
    'mount -o bind,ro /proc/sys /proc/sys && exec "$@"',
    "sh",
)
UNROUTED = """
from iam4kube.sandbox.demo.machine import move_into_own_network
move_into_own_network()
from iam4kube.sandbox.demo import routed, routed_scenes
raise SystemExit(routed.run_demo_with_router(scenes=[("Own roles", routed_scenes._show_own_roles)]))
"""
KEEP_RUNNING = """
from iam4kube.sandbox.demo.machine import move_into_own_network
move_into_own_network()
from iam4kube.sandbox.demo import routed
raise SystemExit(routed.run_demo_with_router(keep_running=True, scenes=routed.ROUTED_SCENES[1:2]))
"""

ASK_FOR_TOKEN = """
from urllib.request import Request, urlopen
ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
print(urlopen(Request("http://169.254.169.254/latest/api/token", method="PUT", headers=ttl), timeout=5).status)
"""


async def told(command: str) -> str:
    """What a command prints in another terminal."""
    process = await asyncio.create_subprocess_exec(*shlex.split(command), stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode()


def network_of(process: int) -> int:
    """The network namespace that a process is in."""
    return Path(f"/proc/{process}/ns/net").stat().st_ino


def is_running(process: int) -> bool:
    """Whether a process is there."""
    return Path(f"/proc/{process}").exists()


@pytest.mark.parametrize("under", [(), ORDINARY_USER], ids=["as-it-is", "ordinary-user"])
async def test_all_of_it_holds_whoever_runs_it(under: tuple[str, ...]) -> None:
    """It ends by itself with 0, in 80 columns, and whatever AWS settings whoever runs it has do not matter."""
    own = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "missing", "http_proxy": "http://127.0.0.1:1"}
    async with running(*DEMO, under=under, environ=own) as demo:
        output, _ = await demo.communicate()
    text = output.decode()
    assert demo.returncode == 0, text
    assert re.search(rf"^All {len(ROUTED_SCENES)} scenes held", text, re.MULTILINE)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    for line in (NODE_SESSION_ARN, ORDERS.session_arn, "is refused, and has no credentials after"):
        assert line in text


async def test_a_leak_would_be_seen() -> None:
    """Where no router has run, the scene fails that shows each pod's own role, and names the node's."""
    async with running("-c", UNROUTED) as demo:
        output, _ = await demo.communicate()
    assert demo.returncode == 1
    assert re.search(rf"expected:\s+{ORDERS.session_arn}\n +seen:\s+{NODE_SESSION_ARN}\n", output.decode())


@pytest.mark.parametrize(
    ("under", "problem", "remedy"),
    [
        (WITHOUT_NAMESPACES, "no network namespace can be made", "run it as root"),
        (WITHOUT_PARAMETERS, "a network namespace cannot forward", "/proc/sys/net has to be writable"),
    ],
)
async def test_it_says_so_where_namespaces_are_not_allowed(under: tuple[str, ...], problem: str, remedy: str) -> None:
    """One line with the remedy, and exit code 2."""
    async with running(*DEMO, under=under) as demo:
        output, _ = await demo.communicate()
    text = output.decode()
    assert (demo.returncode, text.count("\n")) == (2, 1), text
    assert problem in text
    assert remedy in text


async def test_it_says_so_where_libnftables_is_missing(tmp_path: Path) -> None:
    """What the router itself says is passed on."""
    (tmp_path / "libnftables.so.1").touch()
    async with running(*DEMO, environ={"LD_LIBRARY_PATH": str(tmp_path)}) as demo:
        output, _ = await demo.communicate()
    text = output.decode()
    assert (demo.returncode, text.count("\n")) == (2, 1), text
    assert "install libnftables" in text


@pytest.mark.parametrize("under", [(), ORDINARY_USER], ids=["as-it-is", "ordinary-user"])
async def test_it_stays_up_for_a_person_and_leaves_nothing_behind(under: tuple[str, ...]) -> None:
    """With --keep-running the printed commands work from outside, until a signal ends the demo and all of it."""
    async with running("-c", KEEP_RUNNING, under=under) as demo:
        text = await read_until(demo, "/metrics")
        [namespaces] = re.findall(r'IN="(nsenter .+)"', text)
        [pod] = re.findall(r"POD=(\d+)", text)
        [node] = re.findall(r"NODE=(\d+)", text)
        [check] = re.findall(r"\$IN --target \$NODE \\\n(.+)\n", text)
        assert "new connections are let in" in await told(f"{namespaces} --target {node} {check}")
        assert await told(f"{namespaces} --target {pod} {sys.executable} -c {shlex.quote(ASK_FOR_TOKEN)}") == "200\n"
        assert network_of(demo.pid) != network_of(os.getpid())
        demo.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            await demo.communicate()
    assert demo.returncode == 0
    assert not any(is_running(int(process)) for process in (pod, node))
