"""What docs/install.md, upgrade.md and operations.md tell a reader to type or to look for exists.

`tests/cluster/test_install_documentation.py` runs most of it. This is for the rest: calls of AWS, policies, names in
the text.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore import xform_name

from iam4kube import __version__
from iam4kube.cli.arguments import command_parser as server_commands
from iam4kube.server.events import EventReason
from ip2service.cli.arguments import command_parser as router_commands
from ip2service.ruleset import GUARD_VERSION, ROUTING_VERSION
from tests.support.documented_commands import ROOT, USES, Block, aws_commands, blocks_of, simple_commands
from tests.support.metrics_page import documented
from tests.support.settings_page import PAGES

DOCS = ROOT / "docs"
TEXTS = {name: (DOCS / name).read_text() for name in ("install.md", "upgrade.md", "operations.md")}
BLOCKS = [block for name in TEXTS for block in blocks_of(DOCS / name)]
SHELL = [block for block in BLOCKS if block.language == "sh"]
EXAMPLES = {"AWS_ACCOUNT_ID": "111122223333", "policy": "AmazonEKS_CNI_Policy"}
PARSERS = {"iam4kube": server_commands(), "ip2service": router_commands()}
COMMENTS = {f"ip2service guard {GUARD_VERSION}", f"ip2service routing {ROUTING_VERSION}"}
"""Of the router's tables."""
OTHERS_FLAGS = {"--now", "--node-labels", "--register-with-taints"}
"""Of systemctl and the kubelet."""
CLIS_OPTIONS = {"query", "output"}
"""Of every call, by the AWS CLI itself."""
OTHERS_EVENTS_AND_ALERTS = {"RoutingBroken"}


def in_code(text: str) -> list[str]:
    """What stands between backticks, outside blocks."""
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose)]


CODE = [(name, code) for name, text in TEXTS.items() for code in in_code(text)]


def files_written() -> Iterator[tuple[str, str]]:
    """Paths and contents of here-documents."""
    for block in SHELL:
        found = re.findall(r"cat > (\S+) <<EOF\n(.*?)^EOF$", block.text, re.MULTILINE | re.DOTALL)
        for path, text in found:
            yield path, re.sub(r"\$(\w+)", lambda name: EXAMPLES.get(name[1], name[1]), text)


FILES = dict(files_written())
TRUST = {path: json.loads(text) for path, text in FILES.items() if path.endswith("-trust.json")}
CALLS = [call for block in SHELL for call in aws_commands(block.text, EXAMPLES)]


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_shell_accepts_it(block: Block) -> None:
    """And its use is one that the tests know."""
    assert block.use in USES
    checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_kustomization_that_is_committed_as_the_page_says_outlives_the_next_checkouts(tmp_path: Path) -> None:
    """It is in a repository of its own, which this one does not see."""
    assert "git init deploy" in in_code(TEXTS["upgrade.md"])
    shutil.copy(ROOT / ".gitignore", tmp_path)
    identity = {f"GIT_{who}_{what}": "a@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **identity}
    script = """
        set -e
        git init -q; git add .; git commit -qm 1; git tag v1; git commit -qm 2 --allow-empty; git tag v2
        git init -q deploy; echo mine > deploy/kustomization.yaml
        git -C deploy add .; git -C deploy commit -qm mine
        git add --all; git status --porcelain
        git checkout -q v1; git checkout -q v2; cat deploy/kustomization.yaml
    """
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "mine\n"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language != "sh"], ids=str)
def test_everything_else_is_json_or_yaml(block: Block) -> None:
    """Whoever pastes it elsewhere gets no error of syntax."""
    assert (json.loads if block.language == "json" else yaml.safe_load)(block.text)
    assert block.language in ("json", "yaml")


def test_calls_of_aws_exist_with_their_options() -> None:
    """By the models that the AWS CLI itself is made from; a file that is read has been written before."""
    session = botocore.session.get_session()
    assert {(call.service, call.operation) for call in CALLS} >= {("iam", "create-role"), ("eks", "create-nodegroup")}
    for call in CALLS:
        if call.operation == "get-login-password":  # the CLI's own
            continue
        model = session.get_service_model(call.service)
        [operation] = [name for name in model.operation_names if xform_name(name, "-") == call.operation]
        members = members_of(model.operation_model(operation).input_shape)
        assert set(call.options) - CLIS_OPTIONS <= {xform_name(member, "-") for member in members}, call
        files = [value.removeprefix("file://") for value in call.options.values() if value.startswith("file://")]
        assert set(files) <= set(FILES)


def test_structures_in_calls_of_aws_have_the_members_that_they_name() -> None:
    """The launch template's file, and shorthands such as `key=...,effect=...`."""
    session = botocore.session.get_session()
    launch = session.get_service_model("ec2").shape_for("RequestLaunchTemplateData")
    template = json.loads(FILES["deploy/aws/server-launch-template.json"])
    assert set(template["MetadataOptions"]) <= set(members_of(members_of(launch)["MetadataOptions"]))
    assert template["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 2}
    [group] = [call for call in CALLS if call.operation == "create-nodegroup"]
    taint = dict(pair.split("=") for pair in group.options["taints"].split(","))
    members = members_of(session.get_service_model("eks").shape_for("Taint"))
    assert set(taint) <= set(members)
    assert taint["effect"] in members["effect"].enum


def members_of(shape: Any) -> dict[str, Any]:
    """What a structure of AWS' models consists of."""
    return dict(shape.members)


def test_every_pods_role_is_for_one_session_name_of_the_servers_role() -> None:
    """Without the condition any ServiceAccount could have it."""
    assert len(TRUST) == 2
    for path, policy in TRUST.items():
        for statement in policy["Statement"]:
            assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")
            if path == "deploy/aws/server-trust.json":
                assert statement["Principal"] == {"Service": "ec2.amazonaws.com"}
                continue
            assert statement["Principal"] == {"AWS": "arn:aws:iam::111122223333:role/iam4kube-server"}
            session_name = statement["Condition"]["StringEquals"]["sts:RoleSessionName"]
            assert re.fullmatch(r"[a-z0-9.-]+@[a-z0-9.-]+", session_name)


def test_the_server_may_assume_what_is_below_one_path_and_nothing_else() -> None:
    """Never `*`, and not itself."""
    [statement] = json.loads(FILES["deploy/aws/server-policy.json"])["Statement"]
    allowed = statement["Resource"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")
    assert re.fullmatch(r"arn:aws:iam::111122223333:role/[\w-]+/\*", allowed)
    made = [call.options for call in CALLS if call.operation == "create-role"]
    roles = {role["role-name"]: f"arn:aws:iam::111122223333:role{role.get('path', '/')}" for role in made}
    within = {name: fnmatchcase(f"{path}{name}", allowed) for name, path in roles.items()}
    assert within == {"iam4kube-server": False, "shop-orders": True}


def test_our_own_commands_exist() -> None:
    """In blocks and in the text, with their flags."""
    typed = [*chain.from_iterable(simple_commands(block.text) for block in SHELL), *(code.split() for _, code in CODE)]
    ours = [words[words.index("--") + 1 :] if "--" in words else words for words in typed]
    named = [words for words in ours if words and words[0] in PARSERS and len(words) > 1]
    named = [words for words in named if " ".join(words) not in COMMENTS]
    assert len(named) > 8
    for program, *words in named:
        parser: argparse.ArgumentParser = PARSERS[program]
        while words and (subparsers := subcommands(parser)):
            assert words[0] in subparsers, (program, words)
            parser = subparsers[words.pop(0)]
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= set(parser._option_string_actions), (program, words)


def subcommands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """The commands of a parser by their names, if it has any."""
    found = (each.choices for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return next(found, {})


def test_settings_exist() -> None:
    """A flag between backticks is one of ours or of a few others'; so is a variable with our prefix."""
    pages = "".join(page.path.read_text() for page in PAGES.values())
    flags = {flag for _, code in CODE for flag in re.findall(r"^--[\w-]+", code)} - OTHERS_FLAGS
    variables = {name for text in TEXTS.values() for name in re.findall(r"\bI(?:AM4KUBE|P2SERVICE)_[A-Z_]+", text)}
    assert {flag for flag in flags if f"| `{flag}`" not in pages} == set()
    assert {name for name in variables if f"`{name}`" not in pages} == set()


def test_metrics_exist() -> None:
    """Those in the text are on the pages that tests compare with the registries."""
    known = {name for page in ("metrics.md", "router-metrics.md") for name, _, _ in documented(DOCS / page)}
    named = {name for _, code in CODE for name in re.findall(r"\b(?:iam4kube|ip2service)_[a-z_]+", code)}
    assert named - known - {"ip2service_guard"} == set()


def test_files_and_tests_that_are_named_exist() -> None:
    """Folders, too."""
    named = [code for _, code in CODE if re.match(r"(\.\./)?(manifests|tests|tools|docs)/\S+$", code)]
    assert named
    assert [name for name in named if not (ROOT / name.removeprefix("../")).exists()] == []
    built = re.findall(r"--file (\S+)", "".join(block.text for block in SHELL))
    assert [name for name in built if not (ROOT / name).exists()] == []


def test_objects_that_are_named_exist() -> None:
    """Workloads, by kind and name, are in the manifests."""
    files = (ROOT / "manifests" / "base").rglob("*.yaml")
    manifests = [each for path in files for each in yaml.safe_load_all(path.read_text())]
    objects = {(str(each.get("kind")).lower(), each.get("metadata", {}).get("name")) for each in manifests}
    text = "".join(TEXTS.values())
    named = set(re.findall(r"\b(deployment|daemonset|job|secret)[/ ]([a-z0-9][a-z0-9-]+)(?![\w.])", text))
    named -= {(kind, word) for kind, word in named if "2" not in word and "4" not in word}  # prose
    assert named >= {("deployment", "iam4kube"), ("daemonset", "ip2service"), ("job", "iam4kube-token-keys")}
    assert named - objects == set()


def test_reasons_of_events_exist() -> None:
    """Whoever looks for one finds it."""
    known = {str(reason) for reason in EventReason} | OTHERS_EVENTS_AND_ALERTS
    named = {code for _, code in CODE if re.fullmatch(r"(No|Invalid)[A-Z]\w+|\w+(Found|Broken|Mended)", code)}
    assert {"NoRole", "InvalidRole", "NoCredentials", "CredentialsFound"} <= named <= known


def test_what_the_log_says_is_what_the_programs_say() -> None:
    """Messages are constant: one can search for them."""
    sources = "".join(path.read_text() for name in PARSERS for path in (ROOT / name).rglob("*.py"))
    logs = " ".join(TEXTS["operations.md"].partition("Worth a search:")[2].partition("Why one pod")[0].split())
    missing = TEXTS["upgrade.md"].partition("| `missing` says |")[2].partition("\n\n")[0]
    messages = [*re.findall(r"`([A-Z][^`]+ [^`]+)`", logs), *re.findall(r"^\| `([^`]+)`", missing, re.MULTILINE)]
    assert len(messages) >= 5
    assert [message for message in messages if message not in sources] == []


def test_numbers_are_those_of_the_manifests() -> None:
    """And the version is the one that is here."""
    server = manifest("server/deployment.yaml")["spec"]
    container = server["template"]["spec"]["containers"][0]
    router = manifest("router/daemonset.yaml")["spec"]
    assert f"export VERSION={__version__}\n" in TEXTS["install.md"]
    upgrade, operations = TEXTS["upgrade.md"], TEXTS["operations.md"]
    assert f"| {server['minReadySeconds']} s, `minReadySeconds` |" in upgrade
    assert f"`progressDeadlineSeconds` is {server['progressDeadlineSeconds']} (90 minutes)" in upgrade
    assert f"`terminationGracePeriodSeconds: {server['template']['spec']['terminationGracePeriodSeconds']}`" in upgrade
    assert f"(`maxUnavailable: {router['updateStrategy']['rollingUpdate']['maxUnavailable']}`)" in upgrade
    memory = container["resources"]
    assert (memory["requests"]["memory"], memory["limits"]["memory"]) == ("256Mi", "512Mi")
    assert "the manifests request 256 MiB, and end it at 512" in operations


def manifest(name: str) -> Any:
    """A file of the base with one object."""
    return yaml.safe_load((ROOT / "manifests" / "base" / Path(name)).read_text())
