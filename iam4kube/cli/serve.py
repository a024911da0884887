"""`iam4kube serve`: one replica of the credential server, until SIGTERM."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from iam4kube.runtime.settings import add_settings, read_settings
from iam4kube.server.settings import PREFIX, ServerSettings

if TYPE_CHECKING:
    from iam4kube.runtime.arguments import SettingsParser

_DESCRIPTION = """\
Run one replica of the credential server. Each setting is a flag or an environment variable; the flag wins.
SIGTERM drains and stops in order; a second one stops at once."""


def add_command(commands: "argparse._SubParsersAction[SettingsParser]") -> None:
    """Add the command and its flags."""
    parser = commands.add_parser("serve", help="run one replica of the credential server", description=_DESCRIPTION)
    add_settings(parser, ServerSettings, PREFIX)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(ServerSettings, arguments, environ, PREFIX)
    from iam4kube.server.main import serve

    return serve(settings, environ)
