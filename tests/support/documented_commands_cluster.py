"""The cluster of somebody who installs: a control plane, nodes that know nothing of this project, an AWS account.

Everything is real but kubelets, systemd and AWS. Nodes for servers are not even labelled: that is the reader's part.
"""

import fnmatch
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iam4kube.sandbox.sts.server import Sts
from tests.support.controlplane import ControlPlane
from tests.support.documented_commands import aws_commands
from tests.support.node_agent_cluster import AgentCluster
from tests.support.node_agent_images import Image, Images

AWS_CLI = "public.ecr.aws/aws-cli/aws-cli:latest"
_HERE = Path(__file__).parent


class Account:
    """An AWS account as far as the page asks something of it: it obeys `aws iam` by what STS then allows."""

    def __init__(self, sts: Sts, folder: Path, environment: Mapping[str, str]) -> None:
        """`folder` is where commands are run, `environment` what they have exported."""
        self._sts = sts
        self._folder = folder
        self._environment = environment
        self._assumable: list[str] = []
        self._roles: dict[str, Any] = {}

    def obey(self, commands: str) -> None:
        """Make roles with their trust policies, and remember what servers may assume. Other calls are not known."""
        for command in aws_commands(commands, self._environment):
            options = command.options
            match command.operation:
                case "create-role":
                    path = f"{options.get('path', '/')}{options['role-name']}"
                    arn = f"arn:aws:iam::{self._environment['AWS_ACCOUNT_ID']}:role{path}"
                    self._roles[arn] = self._document(options["assume-role-policy-document"])
                case "put-role-policy":
                    for statement in self._document(options["policy-document"])["Statement"]:
                        assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")
                        self._assumable.append(statement["Resource"])
        self._trust()

    def _trust(self) -> None:
        """STS refuses every other role: it is to be made with `known_only`."""
        for arn, policy in self._roles.items():
            for statement in policy["Statement"]:
                principal = statement["Principal"].get("AWS")
                if principal in self._roles and any(fnmatch.fnmatchcase(arn, each) for each in self._assumable):
                    condition = statement["Condition"]["StringEquals"]
                    self._sts.trust.trust(
                        arn,
                        session_name=condition["sts:RoleSessionName"],
                        external_id=condition.get("sts:ExternalId"),
                    )

    def _document(self, argument: str) -> Any:
        return json.loads((self._folder / argument.removeprefix("file://")).read_text())


class DocumentedCluster(AgentCluster):
    """The cluster. Use it with `async with`, in the test itself."""

    def __init__(
        self, control_plane: ControlPlane, folder: Path, *, server_nodes: Sequence[str], images: tuple[str, str]
    ) -> None:
        """`images`: the server's and the router's, with registry and tag. There are no others of them."""
        super().__init__(control_plane, folder, sts=Sts(known_only=True), server_nodes=server_nodes)
        self._references = images

    def on_node(self, name: str) -> tuple[str, ...]:
        """The beginning of a command line that runs the rest on a node: in its network, with an /etc of its own."""
        etc = self.folder / name / "etc"
        (etc / "systemd" / "system").mkdir(parents=True, exist_ok=True)
        script = f'mount --bind {etc} /etc; exec "$@"'
        return self.nodes[name].host.namespace.command("unshare", "--mount", "sh", "-ec", script, "sh")

    def strangers(self) -> dict[str, int]:
        """Who asked the real metadata service that is not a server, and how often."""
        servers = {
            str(address)
            for node in self.nodes.values()
            for worker in node.workers
            if worker.namespace == "iam4kube" and worker.host is not None
            for address in worker.host.host.addresses
        }
        return {address: count for address, count in self.metadata.askers.items() if address not in servers}

    def _images(self) -> Images:
        aws = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        aws["AWS_ENDPOINT_URL_STS"] = self.sts.url
        server, router = self._references
        cli = (sys.executable, "-P", str(_HERE / "documented_commands_aws_cli.py"))
        return Images(
            {server: Image(environment=aws), router: Image(), AWS_CLI: Image(entrypoint=cli, environment=aws)}
        )
