"""The token key file: a keyring as JSON, usually a mounted Secret, shared by all replicas.

It is written whole or not at all and readable by its owner only. The server never writes it.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from iam4kube.metadata.keyring import Keyring, KeyringError, checked

_SIZE_LIMIT = 1 << 20  # a Secret cannot be larger
_HOW_TO_MAKE_ONE = "make one with `iam4kube token-key new FILE`"


class KeyFileError(Exception):
    """The file cannot be used. The text names the file, what is wrong and the remedy; it holds no secret."""


def read_keyring(path: Path) -> Keyring:
    """Read and check a token key file. Raises `KeyFileError`."""
    try:
        with path.open("rb") as file:
            content = file.read(_SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise KeyFileError(f"token key file {path} does not exist; {_HOW_TO_MAKE_ONE}") from None
    except PermissionError:
        raise KeyFileError(f"token key file {path} is not readable for user {os.getuid()}; change its owner") from None
    except OSError as error:
        raise KeyFileError(f"token key file {path} cannot be read: {error.strerror}") from None
    return parse_keyring(content, path)


def parse_keyring(content: bytes, path: Path) -> Keyring:
    """Parse what a token key file holds. `path` is for messages. Raises `KeyFileError`."""
    if not content.strip():
        raise KeyFileError(f"token key file {path} is empty; {_HOW_TO_MAKE_ONE}")
    if len(content) > _SIZE_LIMIT:
        raise KeyFileError(f"token key file {path} is larger than {_SIZE_LIMIT} bytes; {_HOW_TO_MAKE_ONE}")
    try:
        return checked(msgspec.json.decode(content, type=Keyring))
    except KeyringError as error:
        raise KeyFileError(f"token key file {path}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeyFileError(f"token key file {path} is not a token key file ({error}); {_HOW_TO_MAKE_ONE}") from None


def encode_keyring(keyring: Keyring) -> bytes:
    """What a token key file holds: the keyring with its secrets."""
    return msgspec.json.format(msgspec.json.encode(keyring), indent=2) + b"\n"


def create_key_file(path: Path, keyring: Keyring) -> None:
    """Write a new file. Raises `KeyFileError`, also when it exists: its keys may be in use."""
    if os.path.lexists(path):
        raise KeyFileError(f"token key file {path} exists; rotate with `iam4kube token-key add`, or remove it first")
    _write(path, keyring, publish=os.link)


def replace_key_file(path: Path, keyring: Keyring) -> None:
    """Replace the file by another keyring, in one step for whoever reads it. Raises `KeyFileError`."""
    _write(path, keyring, publish=os.replace)


def _write(path: Path, keyring: Keyring, *, publish: Callable[[Path, Path], object]) -> None:
    content = encode_keyring(keyring)
    target = Path(os.path.realpath(path))  # a symlink stays one: what it points to is replaced
    try:
        # mkstemp creates with mode 0600. The same folder, because a rename is only atomic within a file system.
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            publish(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
    except OSError as error:
        raise KeyFileError(f"token key file {path} cannot be written: {error.strerror}") from None
