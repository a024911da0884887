"""`iam4kube token-key`: makes and rotates the file of keys that sign metadata tokens."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from iam4kube.cli import token_key_secret
from iam4kube.runtime.clock import utc_now
from iam4kube.runtime.mistakes import SettingsError

if TYPE_CHECKING:
    from iam4kube.metadata.keyring import Keyring
    from iam4kube.runtime.arguments import SettingsParser

_DESCRIPTION = """\
Make and rotate the keys that sign IMDSv2 tokens. All replicas get the same file, usually as a mounted Secret, and
re-read it by themselves. A rotation that breaks no token:

  1. token-key add FILE        and wait until every replica's metric iam4kube_token_key shows the new id
  2. token-key sign FILE ID    from now on the new key signs
  3. token-key remove FILE ID  the old one, 6 h 10 min after that: no token lives longer"""

_ID_HELP = "a name for the key; the date and some random digits if left out"


def add_command(commands: "argparse._SubParsersAction[SettingsParser]") -> None:
    """Add the command and its steps."""
    parser = commands.add_parser(
        "token-key",
        help="make or rotate the keys that sign IMDSv2 tokens",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    steps = parser.add_subparsers(title="steps", metavar="STEP", required=True)
    _add_step(steps, "new", _new, "make a new file with one key, which signs", id_help=_ID_HELP)
    _add_step(steps, "add", _add, "add a key, which verifies and does not sign yet", id_help=_ID_HELP)
    _add_step(steps, "sign", _sign, "let another key of the file sign")
    _add_step(steps, "remove", _remove, "remove a key: its tokens are refused at once")
    _add_step(steps, "list", _list, "show the keys' ids, without secrets", id_help=None)
    token_key_secret.add_command(steps)


def _add_step(
    steps: "argparse._SubParsersAction[SettingsParser]",
    name: str,
    step: Callable[[argparse.Namespace], "Keyring"],
    help_text: str,
    *,
    id_help: str | None = "",
) -> None:
    """Add one step. `id_help` is "" where the id is required and None where there is none."""
    parser = steps.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.")
    parser.add_argument("file", metavar="FILE", type=Path, help="the token key file")
    if id_help == "":
        parser.add_argument("id", metavar="ID", help="the key's id")
    elif id_help is not None:
        parser.add_argument("--id", metavar="ID", help=id_help)

    def run(arguments: argparse.Namespace, _environ: Mapping[str, str]) -> int:
        from iam4kube.metadata.keyfile import KeyFileError
        from iam4kube.metadata.keyring import KeyringError

        try:
            _show(step(arguments))
        except (KeyFileError, KeyringError) as error:
            raise SettingsError([str(error)]) from error
        return 0

    parser.set_defaults(run=run)


def _new(arguments: argparse.Namespace) -> "Keyring":
    from iam4kube.metadata.keyfile import create_key_file
    from iam4kube.metadata.keyring import new_keyring

    keyring = new_keyring(now=utc_now(), key_id=arguments.id)
    create_key_file(arguments.file, keyring)
    return keyring


def _add(arguments: argparse.Namespace) -> "Keyring":
    from iam4kube.metadata.keyring import add_key

    return _replace(arguments.file, lambda keyring: add_key(keyring, now=utc_now(), key_id=arguments.id))


def _sign(arguments: argparse.Namespace) -> "Keyring":
    from iam4kube.metadata.keyring import sign_with

    return _replace(arguments.file, lambda keyring: sign_with(keyring, arguments.id))


def _remove(arguments: argparse.Namespace) -> "Keyring":
    from iam4kube.metadata.keyring import remove_key

    return _replace(arguments.file, lambda keyring: remove_key(keyring, arguments.id))


def _list(arguments: argparse.Namespace) -> "Keyring":
    from iam4kube.metadata.keyfile import read_keyring

    return read_keyring(arguments.file)


def _replace(path: Path, change: Callable[["Keyring"], "Keyring"]) -> "Keyring":
    from iam4kube.metadata.keyfile import read_keyring, replace_key_file

    changed = change(read_keyring(path))
    replace_key_file(path, changed)
    return changed


def _show(keyring: "Keyring") -> None:
    for key in keyring.keys:
        role = "signs" if key.id == keyring.signing else "verifies"
        print(f"{key.id}  {role}  created {key.created:%Y-%m-%dT%H:%M:%SZ}")
