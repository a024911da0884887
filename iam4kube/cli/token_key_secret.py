"""`iam4kube token-key ensure-secret`: the first token key of an installation, in a Secret that is there and empty.

The Job of the manifests runs it with every installation and upgrade, so it has to be harmless the second time.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from iam4kube.kube.settings import ClusterSettings
from iam4kube.runtime.mistakes import SettingsError
from iam4kube.runtime.settings import add_settings, read_settings
from iam4kube.server.settings import PREFIX

if TYPE_CHECKING:
    from iam4kube.kube.secret_data import SecretKey
    from iam4kube.runtime.arguments import SettingsParser

_DESCRIPTION = """\
Put one new key, which signs, into a Secret that is there and has none. A Secret that has keys is left alone, however
often this runs and however many at a time. Needs get and patch on that one Secret. No key is ever printed."""

_PATIENCE: Final = 10.0
"""Seconds of trying. The Job starts it again after that."""


def add_command(steps: "argparse._SubParsersAction[SettingsParser]") -> None:
    """Add it to the steps of `iam4kube token-key`."""
    parser = steps.add_parser(
        "ensure-secret", help="make the first key in a Secret that has none", description=_DESCRIPTION
    )
    parser.usage = "%(prog)s NAMESPACE/NAME [--setting=VALUE ...]"
    parser.add_argument("secret", metavar="NAMESPACE/NAME", help="the Secret")
    parser.add_argument(
        "--data-key", metavar="KEY", default="keys.json", help="the key of its data (default: keys.json)"
    )
    add_settings(parser, ClusterSettings, PREFIX)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(ClusterSettings, arguments, environ, PREFIX)
    namespace, slash, name = arguments.secret.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise SettingsError([f"{arguments.secret!r}: expected NAMESPACE/NAME, such as iam4kube/iam4kube-token-keys"])
    from iam4kube.kube.errors import KubeError
    from iam4kube.kube.secret_data import SecretKey
    from iam4kube.runtime.lifecycle import run

    secret = SecretKey(namespace=namespace, name=name, key=arguments.data_key)
    try:
        print(run(_ensure(secret, settings, environ)))
    except KubeError as error:
        remedy = "it has to be there, and get and patch on it have to be granted"
        print(f"iam4kube: Secret {arguments.secret}: {error}; {remedy}", file=sys.stderr)
        return 1
    return 0


async def _ensure(secret: "SecretKey", settings: ClusterSettings, environ: Mapping[str, str]) -> str:
    """Fill the Secret, and say what was done. Raises `KubeError` and `SettingsError`."""
    from iam4kube import __version__
    from iam4kube.kube.connection import new_client, opened
    from iam4kube.kube.secret_data import fill_once
    from iam4kube.metadata.keyfile import encode_keyring
    from iam4kube.metadata.keyring import new_keyring
    from iam4kube.runtime.clock import utc_now

    keyring = new_keyring(now=utc_now())
    async with opened(new_client(settings, environ, user_agent=f"iam4kube/{__version__}")) as client:
        filled = await fill_once(client, secret, encode_keyring(keyring), patience=_PATIENCE)
    where = f"Secret {secret.namespace}/{secret.name}"
    return f"{where}: made key {keyring.signing}" if filled else f"{where}: has keys already, nothing changed"
