"""Role ARNs, external IDs, session names, and the key they form: what identity and credentials both speak of.

Syntax from the IAM and STS API references (CreateRole, AssumeRole); anything that STS would refuse for its
form is refused here, before it costs a call.
"""

import hashlib
import re
from typing import NewType

import msgspec

from iam4kube.kube import decoding

RoleArn = NewType("RoleArn", str)
ExternalId = NewType("ExternalId", str)
SessionName = NewType("SessionName", str)

ROLE_ANNOTATION = decoding.ROLE_ARN_ANNOTATION
EXTERNAL_ID_ANNOTATION = decoding.EXTERNAL_ID_ANNOTATION

SESSION_NAME_LIMIT = 64  # AssumeRole: RoleSessionName is 2 to 64 characters of [\w+=,.@-]
_DIGEST_DIGITS = 16

# IAM: a path begins and ends with "/" and has at most 512 characters of U+0021 to U+007E; a name at most 64.
_ROLE_ARN = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z0-9]+)*):iam::(?P<account>[0-9]{12}):role"
    r"(?P<path>/(?:[!-.0-~]+/)*)(?P<name>[A-Za-z0-9_+=,.@-]{1,64})"
)
_PATH_LIMIT = 512
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9_+=,.@:/-]{2,1224}")  # AssumeRole: ExternalId

ROLE_ARN_EXPECTED = "a role ARN such as arn:aws:iam::123456789012:role/path/name"
EXTERNAL_ID_EXPECTED = "2 to 1224 characters of A-Z a-z 0-9 _ + = , . @ : / -"


class InvalidRole(ValueError):
    """An annotation that names no usable role. The text quotes the value and says what is expected."""


class Role(msgspec.Struct, frozen=True):
    """A role ARN, taken apart."""

    arn: RoleArn
    partition: str
    account: str
    path: str
    """With both slashes; "/" for none."""
    name: str


class RoleKey(msgspec.Struct, frozen=True, cache_hash=True):
    """What credentials are cached by. Never the ARN alone: that hands one tenant's session to another."""

    arn: RoleArn
    external_id: ExternalId | None
    """None (not set) differs from every value."""
    session_name: SessionName


def parse_role_arn(text: str) -> Role:
    """Take a role ARN of any account and partition apart. Raises `InvalidRole`."""
    match = _ROLE_ARN.fullmatch(text)
    if match is None or len(match["path"]) > _PATH_LIMIT:
        raise InvalidRole(f"{ROLE_ANNOTATION} is {quoted(text)}; expected {ROLE_ARN_EXPECTED}")
    return Role(
        arn=RoleArn(text),
        partition=match["partition"],
        account=match["account"],
        path=match["path"],
        name=match["name"],
    )


def parse_external_id(text: str) -> ExternalId:
    """Check an external ID. Raises `InvalidRole`."""
    if _EXTERNAL_ID.fullmatch(text) is None:
        raise InvalidRole(f"{EXTERNAL_ID_ANNOTATION} is {quoted(text)}; expected {EXTERNAL_ID_EXPECTED}")
    return ExternalId(text)


def session_name(*, namespace: str, service_account: str) -> SessionName:
    """The session name of a ServiceAccount: `namespace@name`, the same on all replicas and after a restart.

    Trust policies match it, so it must be impossible to forge: a name that has to be cut ends in "=" and a
    digest of the whole, and "=" cannot occur in a Kubernetes name, so it is nobody's natural name.
    """
    whole = f"{namespace}@{service_account}"
    if len(whole) <= SESSION_NAME_LIMIT:
        return SessionName(whole)
    digest = hashlib.sha256(whole.encode()).hexdigest()[:_DIGEST_DIGITS]
    return SessionName(f"{whole[: SESSION_NAME_LIMIT - _DIGEST_DIGITS - 1]}={digest}")


def quoted(text: str, *, limit: int = 200) -> str:
    """A user's text for a message: escaped, on one line, bounded."""
    return repr(text if len(text) <= limit else f"{text[:limit]}…")
