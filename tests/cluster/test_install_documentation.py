"""Somebody follows docs/install.md word by word, and ends with a pod that has credentials; then without a trace.

In between come the commands of docs/operations.md and docs/upgrade.md.

Everything is real but kubelets, systemd and AWS: a control plane with its controllers, kube-proxy, nodes and pods in
network namespaces, rules, both programs, boto3. The commands are those of the page, in its order; its own variables
say which nodes and images there are. `aws iam` is obeyed as far as it decides what STS allows.
"""

import asyncio
import base64
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from iam4kube.metadata.keyfile import parse_keyring
from iam4kube.sandbox.network import METADATA_IPV4
from tests.support.controlplane import ControlPlane
from tests.support.documented_commands import ROOT, Block, blocks_of
from tests.support.documented_commands_cluster import Account, DocumentedCluster
from tests.support.documented_commands_terminal import Terminal
from tests.support.installed_cluster import TOKEN_KEYS
from tests.support.upgrade_controllers import Controllers

# On an idle machine 70 s: the servers' drain and the deletion of namespaces take most of it.
pytestmark = [pytest.mark.netns, pytest.mark.cluster, pytest.mark.timeout(400)]

PAGE, OPERATIONS, UPGRADE = (blocks_of(ROOT / "docs" / f"{name}.md") for name in ("install", "operations", "upgrade"))
LAST = "Uninstalling"
Output = dict[str, str]
PROGRAMS = {"kubectl": "documented_commands_kubectl.py", "systemctl": "documented_commands_systemctl.py"}


@pytest.fixture
def complete_control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane of its own, with controllers and scheduler."""
    assets = Path(os.environ["KUBEBUILDER_ASSETS"])
    folder = tmp_path / "control-plane"
    folder.mkdir()
    with (
        ControlPlane(assets, folder, admit_service_accounts=True) as control_plane,
        Controllers(control_plane, folder, deleting=True),
    ):
        yield control_plane


@pytest.fixture
def terminal(complete_control_plane: ControlPlane, tmp_path: Path) -> Terminal:
    """The reader's, in a copy of the manifests, as the administrator of the cluster."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "manifests", checkout / "manifests")
    environment = {
        "KUBECTL": str(complete_control_plane.program("kubectl")),
        "KUBECONFIG": str(complete_control_plane.kubeconfig(tmp_path / "admin.kubeconfig")),
        "PODS_FOLDER": str(tmp_path / "nodes"),
    }
    return Terminal(checkout, programs=PROGRAMS, environment=environment)


async def follow(blocks: list[Block], terminal: Terminal, cluster: DocumentedCluster, account: Account) -> Output:
    """Do what the page says; returns what the commands said, by the section that they are in."""
    said: Output = {}
    for block in blocks:
        output = ""
        match block.language, block.use:
            case "sh", "cluster":
                output = await terminal.run(block.text)
            case "sh", "node":
                for name in cluster.nodes:
                    output += await terminal.run(block.text, wrapper=cluster.on_node(name))
            case "sh", "aws":
                account.obey(block.text)
        said[block.section] = said.get(block.section, "") + output
    return said


async def test_whoever_follows_the_page_has_a_pod_with_credentials_and_in_the_end_a_cluster_as_before(
    complete_control_plane: ControlPlane, terminal: Terminal, tmp_path: Path
) -> None:
    """Every command succeeds; the pod gets its role and a pod without one nothing, from anywhere, until the end."""
    await terminal.run(next(block.text for block in PAGE if block.section == "Names"))
    names = terminal.exported()
    images = tuple(f"{names['REGISTRY']}/{program}:{names['VERSION']}" for program in ("iam4kube", "ip2service"))
    async with DocumentedCluster(
        complete_control_plane,
        tmp_path / "nodes",
        server_nodes=names["SERVER_NODES"].split(),
        images=(images[0], images[1]),
    ) as cluster:
        account = Account(cluster.sts, terminal.folder, names)
        said = await follow([block for block in PAGE if block.section != LAST], terminal, cluster, account)
        assert_credentials(said["See that it works"], nodes=len(cluster.nodes))
        said = await follow([*OPERATIONS, *UPGRADE], terminal, cluster, account)
        assert_operated(said, terminal, cluster)
        assert cluster.strangers() == {}
        said = await follow([block for block in PAGE if block.section == LAST], terminal, cluster, account)
        await assert_nothing_is_left(cluster, said[LAST])


def assert_credentials(said: str, *, nodes: int) -> None:
    """What the reader sees is what the page shows."""
    [shown] = [json.loads(block.text) for block in PAGE if block.language == "json" and "UserId" in block.text]
    decoder = json.JSONDecoder()
    found, _ = decoder.raw_decode(said[said.index("{") :])
    assert (found["Account"], found["Arn"]) == (shown["Account"], shown["Arn"])
    assert found["UserId"].partition(":")[2] == shown["UserId"].partition(":")[2]
    assert "CredentialsFound" in said
    assert "Unable to locate credentials" in said
    assert "BAD" not in said
    assert said.count("installed by the boot rules") == nodes


def assert_operated(said: Output, terminal: Terminal, cluster: DocumentedCluster) -> None:
    """The keys are rotated, and an upgrade has left them alone; what is to be sent is there, and holds no key."""
    names = terminal.exported()
    secret = cluster.control_plane.request("GET", TOKEN_KEYS)["data"]
    keyring = parse_keyring(base64.b64decode(secret["keys.json"]), Path("keys.json"))
    assert ([key.id for key in keyring.keys], keyring.signing) == ([names["NEW_KEY"]], names["NEW_KEY"])
    assert said["Token keys"].count(f"{names['OLD_KEY']}  signs") >= 3
    assert said["Watching it"].count('"ready": true') == 3
    collected = {path.name: path.read_text() for path in (terminal.folder / "support").iterdir()}
    assert [name for name, text in collected.items() if not text.strip()] == []
    secrets = [base64.b64encode(key.secret).decode() for key in keyring.keys]
    assert [name for name, text in collected.items() if any(each in text for each in secrets)] == []


async def assert_nothing_is_left(cluster: DocumentedCluster, said: str) -> None:
    """No rule on any node, no object in the cluster; and pods reach the real service, as the page says they do."""
    assert said.count("removed") >= len(cluster.nodes)
    for node in cluster.nodes.values():
        assert "ip2service" not in await node.host.command("nft", "list", "tables")
        assert METADATA_IPV4 not in await node.host.command("ip", "-4", "rule")
        assert node.present == []
    with cluster.lab.add_pod("afterwards").namespace.socket(socket.AF_INET) as connection:
        async with asyncio.timeout(5.0):
            await asyncio.get_running_loop().sock_connect(connection, (METADATA_IPV4, 80))
