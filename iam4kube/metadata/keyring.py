"""The keys that sign metadata tokens, and the steps of rotating them.

All keys verify, one signs. Mounted Secrets reach replicas 60 to 90 s apart, so a key has to be known everywhere
before anything is signed with it, and has to stay for as long as a token lives: add, wait until every replica's
metric shows the id, sign, and remove after 6 h 10 min.
"""

import re
import secrets
from datetime import datetime
from typing import NewType

import msgspec

KeyId = NewType("KeyId", str)

SECRET_BYTES = 32  # RFC 2104: a key shorter than the digest weakens HMAC, a longer one adds nothing
KEYS_LIMIT = 16  # a rotation needs two or three; a file that only grows is a rotation never finished
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


class KeyringError(ValueError):
    """Keys that cannot be used, or a step of the rotation that would break tokens. Says what to do."""


class TokenKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key. Its `repr` shows no secret."""

    id: KeyId
    created: datetime
    secret: bytes

    def __repr__(self) -> str:
        return f"TokenKey(id={self.id!r}, created={self.created:%Y-%m-%dT%H:%M:%SZ})"


class Keyring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several keys, one of which signs."""

    signing: KeyId
    keys: tuple[TokenKey, ...]

    def __contains__(self, key_id: str) -> bool:
        return any(key.id == key_id for key in self.keys)


def new_keyring(*, now: datetime, key_id: str | None = None) -> Keyring:
    """A keyring of one new key, which signs. Raises `KeyringError` for an impossible id."""
    key = _new_key(now, key_id)
    return checked(Keyring(signing=key.id, keys=(key,)))


def add_key(keyring: Keyring, *, now: datetime, key_id: str | None = None) -> Keyring:
    """The same keyring with one more key, which verifies and does not sign yet. Raises `KeyringError`."""
    return checked(msgspec.structs.replace(keyring, keys=(*keyring.keys, _new_key(now, key_id))))


def sign_with(keyring: Keyring, key_id: str) -> Keyring:
    """The same keys, with this one signing from now on. Raises `KeyringError`."""
    _require(keyring, key_id)
    return msgspec.structs.replace(keyring, signing=KeyId(key_id))


def remove_key(keyring: Keyring, key_id: str) -> Keyring:
    """The keyring without this key: tokens signed with it are refused at once. Raises `KeyringError`."""
    _require(keyring, key_id)
    if key_id == keyring.signing:
        raise KeyringError(
            f"key {key_id!r} signs; let another key sign first, and remove this one 6 h 10 min after that"
        )
    return msgspec.structs.replace(keyring, keys=tuple(key for key in keyring.keys if key.id != key_id))


def checked(keyring: Keyring) -> Keyring:
    """Return the keyring if it can be used. Raises `KeyringError`."""
    ids = [key.id for key in keyring.keys]
    for key in keyring.keys:
        _check(key)
        if ids.count(key.id) > 1:
            raise KeyringError(f"key id {key.id!r} occurs twice; give each key an id of its own")
    if keyring.signing not in ids:
        raise KeyringError(f"key {keyring.signing!r} is to sign and is not there; {_known(keyring)}")
    if len(ids) > KEYS_LIMIT:
        raise KeyringError(f"{len(ids)} keys are more than {KEYS_LIMIT}; remove those that signed long ago")
    return keyring


def _check(key: TokenKey) -> None:
    if _KEY_ID.fullmatch(key.id) is None:
        raise KeyringError(f"key id {key.id!r} is not 1 to 32 characters of A-Z a-z 0-9 _ -")
    if len(key.secret) < SECRET_BYTES:
        raise KeyringError(f"the secret of key {key.id!r} has {len(key.secret)} bytes, expected {SECRET_BYTES} or more")


def _require(keyring: Keyring, key_id: str) -> None:
    if key_id not in keyring:
        raise KeyringError(f"there is no key {key_id!r}; {_known(keyring)}")


def _known(keyring: Keyring) -> str:
    return f"the keys are {', '.join(repr(str(key.id)) for key in keyring.keys) or 'none'}"


def _new_key(now: datetime, key_id: str | None) -> TokenKey:
    name = f"{now:%Y%m%d}-{secrets.token_hex(3)}" if key_id is None else key_id
    return TokenKey(id=KeyId(name), created=now.replace(microsecond=0), secret=secrets.token_bytes(SECRET_BYTES))
