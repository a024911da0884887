"""What a request says, as far as anything here reads it. `Host`, `User-Agent` and the query are ignored."""

from enum import Enum

import msgspec

from iam4kube.kube.objects import Address
from iam4kube.metadata.responses import TTL_HEADER
from iam4kube.metadata.routes import Route, target_of
from iam4kube.metadata.tokens import TTL_LIMIT
from iam4kube.runtime.asgi import Header

_TOKEN_HEADER = b"x-aws-ec2-metadata-token"
_FORWARDED_HEADER = b"x-forwarded-for"


class Authentication(Enum):
    """How a request came in. The value is a metric's label."""

    NONE = "none"
    V1 = "v1"
    """Without a token."""
    V2 = "v2"
    """With a valid one."""
    ISSUE = "issue"
    """It asks for one."""
    INVALID = "invalid"

    __hash__ = object.__hash__  # an enumeration's own is written in Python


class Request(msgspec.Struct, gc=False):
    """One request. What authentication finds is written into the last two fields."""

    address: Address
    method: str
    route: Route
    role: str
    """The role name in a credentials path."""
    token: bytes | None
    """None without the header; an empty header is a (bad) token."""
    ttl: bytes | None
    forwarded: bool
    """Something passed it on, and says so."""
    authentication: Authentication = Authentication.NONE
    echoed_ttl: bytes | None = None
    """The valid token's time to live."""


def read_request(address: Address, method: str, path: bytes, headers: list[Header]) -> Request:
    """Take a request apart. `path` is the raw one without the query; header names are in lower case, and of several
    alike the last counts.
    """
    fields = dict(headers)
    target = target_of(path)
    return Request(
        address,
        method,
        target.route,
        target.role,
        fields.get(_TOKEN_HEADER),
        fields.get(TTL_HEADER),
        _FORWARDED_HEADER in fields,
    )


def parse_ttl(text: bytes | None) -> int | None:
    """The time to live that is asked for, 1 to 21600 seconds; None for anything else."""
    if text is None or not text.isdigit() or len(text) > len(str(TTL_LIMIT)):
        return None
    ttl = int(text)
    return ttl if 1 <= ttl <= TTL_LIMIT else None
