"""Whom STS gave which session: what a caller's key says of the caller, until it expires."""

import re
import secrets
import string
from dataclasses import dataclass
from datetime import datetime

from iam4kube.sandbox.sts.errors import expired_token, invalid_token
from iam4kube.sandbox.sts.requests import AssumeRole, Caller

_LIMIT = 20_000  # sessions remembered; the oldest go first
_ALPHABET = string.ascii_uppercase + string.digits


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session of a role."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    role_arn: str
    arn: str
    """`arn:aws:sts::…:assumed-role/name/session`."""
    user_id: str
    expiration: datetime | None
    """None: for ever, as an instance's own credentials seem to whoever asks for them again in time."""

    def __repr__(self) -> str:
        return f"Session(arn={self.arn!r}, expiration={self.expiration})"

    @property
    def partition(self) -> str:
        """The partition that the role is in."""
        return self.arn.split(":")[1]

    @property
    def account(self) -> str:
        """The account that the role is in."""
        return self.arn.split(":")[4]


class Sessions:
    """All sessions by access key ID."""

    def __init__(self) -> None:
        self._by_key: dict[str, Session] = {}

    def add(self, session: Session) -> None:
        """Know this session from now on."""
        self._by_key[session.access_key_id] = session
        if len(self._by_key) > _LIMIT:
            del self._by_key[next(iter(self._by_key))]

    def forget(self, access_key_id: str) -> None:
        """Do not know it any more: whoever uses it is refused."""
        self._by_key.pop(access_key_id, None)

    def of(self, caller: Caller, *, now: datetime) -> Session:
        """Who calls. Raises 403 for an unknown key, a wrong token, an expired session."""
        session = self._by_key.get(caller.access_key_id)
        if session is None or session.session_token != caller.session_token:
            raise invalid_token()
        if session.expiration is not None and session.expiration <= now:
            raise expired_token()
        return session


def session_from_xml(xml: str, call: AssumeRole, *, expiration: datetime) -> Session:
    """The session that an AssumeRole answer hands out."""
    return Session(
        access_key_id=_element(xml, "AccessKeyId"),
        secret_access_key=_element(xml, "SecretAccessKey"),
        session_token=_element(xml, "SessionToken"),
        role_arn=call.role_arn,
        arn=call.session_arn,
        user_id=_element(xml, "AssumedRoleId"),
        expiration=expiration,
    )


def instance_session(role_arn: str, *, session_name: str) -> Session:
    """Credentials of an instance's own role, as the real metadata service hands them out."""
    call = AssumeRole(role_arn=role_arn, session_name=session_name, external_id=None, duration=0)
    return Session(
        access_key_id=f"ASIA{_random(16)}",
        secret_access_key=secrets.token_urlsafe(30),
        session_token=secrets.token_urlsafe(90),
        role_arn=role_arn,
        arn=call.session_arn,
        user_id=f"AROA{_random(17)}:{session_name}",
        expiration=None,
    )


def _element(xml: str, name: str) -> str:
    match = re.search(f"<{name}>([^<]*)</{name}>", xml)
    if match is None:
        raise ValueError(f"no {name} in the answer of the STS backend")
    return match[1]


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
