"""What a request says, as far as anything here reads it. `Host`, `User-Agent` and the query are ignored."""

import msgspec

from iam4kube.kube.objects import Address
from iam4kube.metadata.responses import TTL_HEADER
from iam4kube.metadata.routes import Route, Target, target_of
from iam4kube.metadata.tokens import TTL_LIMIT
from iam4kube.runtime.asgi import Scope

_TOKEN_HEADER = b"x-aws-ec2-metadata-token"
_FORWARDED_HEADER = b"x-forwarded-for"


class Request(msgspec.Struct, gc=False):
    """One request. What authentication finds is written into the last two fields."""

    address: Address
    method: str
    target: Target
    token: bytes | None
    """None without the header; an empty header is a (bad) token."""
    ttl: bytes | None
    forwarded: bool
    """Something passed it on, and says so."""
    authentication: str = "none"
    """A label: see the metric."""
    echoed_ttl: bytes | None = None
    """The valid token's time to live."""

    @property
    def route(self) -> Route:
        """What it asks for."""
        return self.target.route

    @property
    def reads(self) -> bool:
        """Whether it is a GET or a HEAD, which is answered like one."""
        return self.method in {"GET", "HEAD"}


def read_request(scope: Scope, address: Address) -> Request:
    """Take a request apart. The server has made header names lower case; of several alike, the last counts."""
    headers = dict(scope["headers"])
    return Request(
        address,
        scope["method"],
        target_of(scope["raw_path"]),
        headers.get(_TOKEN_HEADER),
        headers.get(TTL_HEADER),
        _FORWARDED_HEADER in headers,
    )


def parse_ttl(text: bytes | None) -> int | None:
    """The time to live that is asked for, 1 to 21600 seconds; None for anything else."""
    if text is None or not text.isdigit() or len(text) > len(str(TTL_LIMIT)):
        return None
    ttl = int(text)
    return ttl if 1 <= ttl <= TTL_LIMIT else None
