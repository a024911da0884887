"""Which resource a path names: a closed set, matched exactly after one percent-decoding of each segment.

An encoded slash is part of a name and no separator, dot segments and doubled slashes mean nothing: nothing is
proxied, so there is nothing that tricks with paths could reach.
"""

from enum import StrEnum
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import msgspec


class Route(StrEnum):
    """A resource. Safe as a metric's label."""

    TOKEN = "token"  # noqa: S105  # the name of a route, no secret
    OTHER_TOKEN = "other_token"  # noqa: S105  # the same
    """The token path under a version other than `latest`, where EC2 refuses to issue."""
    ROLE_LIST = "role_list"
    CREDENTIALS = "credentials"
    IAM_INFO = "iam_info"
    REGION = "region"
    ZONE = "zone"
    IDENTITY_DOCUMENT = "identity_document"
    UNKNOWN = "unknown"

    __hash__ = str.__hash__  # an enumeration's own is written in Python, and this is hashed several times a request


TOKEN_ROUTES = frozenset({Route.TOKEN, Route.OTHER_TOKEN})
PLACE_ROUTES = frozenset({Route.REGION, Route.ZONE, Route.IDENTITY_DOCUMENT})
"""What says where the asker runs. The others need its role."""


class Target(msgspec.Struct, frozen=True):
    """What a path names."""

    route: Route
    role: str = ""
    """The role name of a credentials path, decoded; not checked."""


_UNKNOWN = Target(Route.UNKNOWN)
_LATEST = "latest"
_ROLES = ("meta-data", "iam", "security-credentials")
_RESOURCES = {
    ("api", "token"): Route.TOKEN,
    _ROLES: Route.ROLE_LIST,  # C++ and .NET list without the slash; a redirect breaks them
    (*_ROLES, ""): Route.ROLE_LIST,
    ("meta-data", "iam", "info"): Route.IAM_INFO,
    ("meta-data", "placement", "region"): Route.REGION,
    ("meta-data", "placement", "region", ""): Route.REGION,
    ("meta-data", "placement", "availability-zone"): Route.ZONE,
    ("meta-data", "placement", "availability-zone", ""): Route.ZONE,  # botocore asks with the slash
    ("dynamic", "instance-identity", "document"): Route.IDENTITY_DOCUMENT,
}
_LONGEST = 320  # bytes: 64 encoded characters of a role name, the rest of its path, and a version


def target_of(path: bytes) -> Target:
    """What a path names, as it stands in the request line, without the query."""
    return _target_of(path) if len(path) <= _LONGEST else _UNKNOWN


@lru_cache(maxsize=4096)  # bounded, with `_LONGEST`, to 2 MB whatever clients send
def _target_of(path: bytes) -> Target:
    root, *segments = path.split(b"/")
    if root or len(segments) < 2 or not segments[0]:
        return _UNKNOWN
    try:
        version, *names = [unquote_to_bytes(segment).decode("ascii") for segment in segments]
    except UnicodeDecodeError:
        return _UNKNOWN
    if tuple(names[:-1]) == _ROLES and names[-1]:
        return Target(Route.CREDENTIALS, names[-1])
    route = _RESOURCES.get(tuple(names), Route.UNKNOWN)
    if route is Route.TOKEN and version != _LATEST:
        return Target(Route.OTHER_TOKEN)
    return Target(route)
