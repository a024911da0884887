"""`ip2service uninstall`: removes what the router has installed on this node, and nothing else."""

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from iam4kube.runtime.settings import add_settings, read_settings
from ip2service.settings import PREFIX, InterceptionSettings

if TYPE_CHECKING:
    from iam4kube.runtime.arguments import SettingsParser

_DESCRIPTION = """\
Remove the router's two nftables tables and its policy rules from this node, and nothing else. Tables of these names
that are somebody else's stay. From then on pods reach the real metadata service. The router must have ended here: one
that runs installs everything anew. In a cluster the router's own pods run this in its place, before their DaemonSet is
deleted (docs/install.md). Needs NET_ADMIN. May be run as often as one likes."""

_WARNING = """\
Pods of this node reach the real metadata service, and with it the node's role, from now on.
Boot rules, where they are installed, come back with the next boot:
  systemctl disable ip2service-boot-rules.service"""

_BACK = "the rules came back within {seconds:g} s: a router still runs here; end it first"

_REFUSED = """\
pods are still refused, by policy rules at other priorities, as an earlier --rule-priority leaves them; delete them with
  {commands}"""


def add_command(commands: "argparse._SubParsersAction[SettingsParser]") -> None:
    """Add the command and its flags."""
    parser = commands.add_parser("uninstall", help="remove every rule of the router", description=_DESCRIPTION)
    add_settings(parser, InterceptionSettings, PREFIX)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(InterceptionSettings, arguments, environ, PREFIX)
    from iam4kube.runtime.lifecycle import run
    from ip2service.removal import SETTLING_SECONDS, uninstall

    outcome = run(uninstall(settings))
    for line in outcome.removed:
        print(f"removed {line}")
    if outcome.came_back:
        print(f"ip2service: {_BACK.format(seconds=SETTLING_SECONDS)}", file=sys.stderr)
        return 1
    if outcome.refusing:
        said = _REFUSED.format(commands="\n  ".join(outcome.refusing))
        print(f"ip2service: {said}", file=sys.stderr)
        return 1
    print(_WARNING if outcome.removed else "nothing to remove")
    return 0
