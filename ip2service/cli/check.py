"""`ip2service check`: what this node does with metadata traffic now, for people and for probes."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from iam4kube.runtime.settings import add_settings, read_settings
from ip2service.settings import PREFIX, CheckSettings

if TYPE_CHECKING:
    from iam4kube.runtime.arguments import SettingsParser
    from ip2service.inspection import Finding

_DESCRIPTION = """\
Read the kernel's rules and say what happens to pods' requests to the metadata service on this node now. Asks neither
the API server nor the router, and changes nothing. Needs NET_ADMIN. In the router's pod it finds its settings itself:

  kubectl exec -n ip2service ds/ip2service -- ip2service check

Exits with 0 when nothing gets through and requests are routed, with 1 when something is missing, and with 2 when it
cannot tell."""

_SIGNS = {"good": "ok  ", "note": "note", "bad": "BAD "}


def add_command(commands: "argparse._SubParsersAction[SettingsParser]") -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "check", help="say what this node does with metadata traffic now", description=_DESCRIPTION
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    add_settings(parser, CheckSettings, PREFIX)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(CheckSettings, arguments, environ, PREFIX)
    from iam4kube.runtime.lifecycle import run
    from ip2service.inspection import Level
    from ip2service.node_state import inspect_node

    found = run(inspect_node(settings))
    healthy = all(finding.level is not Level.BAD for finding in found)
    print(_as_json(found, healthy=healthy) if arguments.json else _as_text(found))
    return 0 if healthy else 1


def _as_text(found: Sequence["Finding"]) -> str:
    return "\n".join(f"{_SIGNS[finding.level]}  {finding.about}: {finding.text}" for finding in found)


def _as_json(found: Sequence["Finding"], *, healthy: bool) -> str:
    return json.dumps({"healthy": healthy, "findings": [asdict(finding) for finding in found]}, indent=2)
