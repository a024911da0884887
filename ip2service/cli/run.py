"""`ip2service run`: the router of one node, until SIGTERM."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from iam4kube.runtime.settings import add_settings, read_settings
from ip2service.settings import PREFIX, RouterSettings

if TYPE_CHECKING:
    from iam4kube.runtime.arguments import SettingsParser

_DESCRIPTION = """\
Run the router of this node. Each setting is a flag or an environment variable; the flag wins.
Needs the capability NET_ADMIN in the node's own network. SIGTERM ends it; the rules stay."""


def add_command(commands: "argparse._SubParsersAction[SettingsParser]") -> None:
    """Add the command and its flags."""
    parser = commands.add_parser("run", help="run the router of this node", description=_DESCRIPTION)
    add_settings(parser, RouterSettings, PREFIX)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(RouterSettings, arguments, environ, PREFIX)
    from ip2service.program import route

    return route(settings, environ)
