"""`iam4kube demo`: the whole thing on one machine, with a Kubernetes API and an STS of its own."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from iam4kube.runtime.mistakes import SettingsError

if TYPE_CHECKING:
    from iam4kube.runtime.arguments import SettingsParser

_DESCRIPTION = """\
Start an emulated Kubernetes API, an emulated STS and the real server on loopback, let pods ask with boto3, and show
what happens. Needs neither a cluster nor AWS. With --with-router, the real router runs, too, and pods ask
169.254.169.254 in network namespaces of their own: that needs Linux that lets you make such namespaces, as root or
in a user namespace, and libnftables. The network of this machine is not touched. Exits with 0 only if everything held,
and with 2 where it cannot run."""


def add_command(commands: "argparse._SubParsersAction[SettingsParser]") -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "demo", help="see it work, without a cluster and without AWS", description=_DESCRIPTION
    )
    parser.add_argument("--keep-running", action="store_true", help="leave everything up for curl, until Ctrl-C")
    parser.add_argument("--with-router", action="store_true", help="with ip2service and pods in network namespaces")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    try:
        return _run_with_router(arguments) if arguments.with_router else _run_on_loopback(arguments)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("iam4kube"):
            raise
        raise SettingsError(
            [f"the demo needs the package {error.name!r}; install the sandbox with `pip install 'iam4kube[sandbox]'`"]
        ) from error


def _run_on_loopback(arguments: argparse.Namespace) -> int:
    from iam4kube.sandbox.demo.plain import run_demo

    return run_demo(keep_running=arguments.keep_running)


def _run_with_router(arguments: argparse.Namespace) -> int:
    from iam4kube.sandbox.demo.machine import move_into_own_network

    move_into_own_network()
    # Only now: a process with threads cannot move into a user namespace, and libraries may start some.
    from iam4kube.sandbox.demo.routed import run_demo_with_router

    return run_demo_with_router(keep_running=arguments.keep_running)
