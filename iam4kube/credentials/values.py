"""Credentials as values, and what can go wrong in getting them."""

from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from iam4kube.roles import RoleKey


class Credentials(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """One session of a role. Its `repr` shows no secret, so that neither a log nor a traceback can."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: datetime
    """In UTC, as AWS said it: what clients are told."""
    issued: datetime
    """AWS's own clock when it answered (the `Date` header): `expiration` minus this is the true lifetime,
    whatever the local clock says."""

    def __repr__(self) -> str:
        return f"Credentials(access_key_id={self.access_key_id[:4]}…, expiration={self.expiration:%Y-%m-%dT%H:%M:%SZ})"


class Fetched(msgspec.Struct, frozen=True, eq=False, weakref=True):
    """Credentials in hand. One object per fetch, compared and hashed by identity: what is made from it (the
    rendered document) can be cached under it and dies with it.
    """

    credentials: Credentials
    expires_at: float
    """When they really expire, on the event loop's clock, in seconds."""


class Refused(msgspec.Struct, frozen=True):
    """STS refuses the role, and no unexpired credentials remain. `message` is what AWS said."""

    code: str
    message: str


class FailureKind(StrEnum):
    """Why a fetch failed, as far as the queue is concerned."""

    TRANSIENT = "transient"
    """Time-outs, 5xx, the server's own credentials missing: worth retrying soon, says nothing of the role."""
    THROTTLED = "throttled"
    """Transient, and every other call should slow down too."""
    PERMANENT = "permanent"
    """STS refuses this role: retried slowly, because IAM is eventually consistent."""


class Failure(msgspec.Struct, frozen=True):
    """Why the last fetch of a role failed. `message` is what AWS said."""

    kind: FailureKind
    code: str
    message: str


class FetchError(Exception):
    """A fetch failed. `code` is AWS's error code or a class name, safe as a metric's label; the text may go to
    the pod's owner (an event), so it holds what AWS said and no secret.
    """

    def __init__(self, *, kind: FailureKind, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.kind = kind
        self.code = code
        self.message = message


class CredentialSource(Protocol):
    """Where credentials come from. AssumeRole is the only source now; web identity and Vault can follow."""

    async def fetch(self, key: RoleKey) -> Credentials:
        """Get a new session for `key`. Ends at once when cancelled: its time is the caller's to bound. Raises
        `FetchError` and nothing else.
        """
        ...
