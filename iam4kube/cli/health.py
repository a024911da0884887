"""`iam4kube check-health`: an exec probe for images without curl. Standard library only: it has to be cheap."""

import argparse
import http.client
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iam4kube.runtime.parsing import ListenAddress, bounded, duration, listen_address
from iam4kube.runtime.settings import add_settings, read_settings, setting
from iam4kube.server.settings import PREFIX

if TYPE_CHECKING:
    from iam4kube.runtime.arguments import SettingsParser

_DESCRIPTION = """\
Ask the replica in the same container how it is, over loopback. Exits with 0 when it is live (or ready), else with 1
and what it said. Finds the port as `serve` does: by flag or environment variable."""

_PATHS = {"live": "/livez", "ready": "/readyz"}
_LOOPBACKS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, kw_only=True)
class HealthSettings:
    """Where to ask, and for how long."""

    admin_listen: ListenAddress = setting(
        ":9090", parse=listen_address, metavar="ADDRESS", help="Where `iam4kube serve` has /livez and /readyz."
    )
    health_timeout: float = setting(
        "5s", parse=bounded(duration, minimum="100ms"), metavar="DURATION", help="How long to wait for the answer."
    )


def add_command(commands: "argparse._SubParsersAction[SettingsParser]") -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "check-health", help="ask a replica on this machine whether it is live or ready", description=_DESCRIPTION
    )
    parser.usage = "%(prog)s [live|ready] [--setting=VALUE ...]"
    parser.add_argument(
        "what",
        nargs="?",
        choices=sorted(_PATHS),
        default="live",
        metavar="live|ready",
        help="what to ask; live if left out",
    )
    add_settings(parser, HealthSettings, PREFIX)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(HealthSettings, arguments, environ, PREFIX)
    address = settings.admin_listen
    host = _LOOPBACKS.get(address.host, address.host)
    connection = http.client.HTTPConnection(host, address.port, timeout=settings.health_timeout)
    try:
        connection.request("GET", _PATHS[arguments.what])
        response = connection.getresponse()
        said = response.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        trouble = f"no answer from {host} port {address.port}: {error}; is --admin-listen that of `iam4kube serve`?"
        print(f"iam4kube: {trouble}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    print(said)  # the kubelet shows it in the pod's events
    return 0 if response.status == http.client.OK else 1
