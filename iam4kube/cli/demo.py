"""`iam4kube demo`: the whole thing on one machine, with a Kubernetes API and an STS of its own."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from iam4kube.runtime.mistakes import SettingsError

if TYPE_CHECKING:
    from iam4kube.runtime.arguments import SettingsParser

_DESCRIPTION = """\
Start an emulated Kubernetes API, an emulated STS and the real server on loopback, let pods ask with boto3, and show
what happens. Needs neither a cluster nor AWS. Exits with 0 only if everything held."""


def add_command(commands: "argparse._SubParsersAction[SettingsParser]") -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "demo", help="see it work, without a cluster and without AWS", description=_DESCRIPTION
    )
    parser.add_argument("--keep-running", action="store_true", help="leave everything up for curl, until Ctrl-C")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    try:
        from iam4kube.sandbox.demo import run_demo
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("iam4kube"):
            raise
        raise SettingsError(
            [f"the demo needs the package {error.name!r}; install the sandbox with `pip install 'iam4kube[sandbox]'`"]
        ) from error
    return run_demo(keep_running=arguments.keep_running)
