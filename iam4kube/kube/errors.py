"""What can go wrong between us and the API server, as one small hierarchy that decisions can be taken on."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from iam4kube.kube import wire

Json = bytes | msgspec.Raw
Shape = TypeVar("Shape")

_TEXT_LIMIT = 256  # characters of a server's message: it may quote whole objects
_RETRY_AFTER_LIMIT = 120.0  # seconds: no answer may silence us for longer
_KINDS = {401: "unauthorized", 403: "forbidden", 410: "expired", 429: "throttled"}
# It is not about what was asked, but about who asks, how often, or a server that starts or stops.
_NOT_ABOUT_THE_REQUEST = frozenset((401, 403, 408, 429, 502, 503, 504))

_statuses = msgspec.json.Decoder(wire.Status)


class KubeConfigError(Exception):
    """No usable configuration. The text is one line that says what is wrong and what to do."""


class KubeError(Exception):
    """The API server could not be asked, or did not do what was asked."""

    kind = "unreachable"
    """A word for metrics and decisions."""
    needs_list = False
    """Whether a watch that ends so cannot go on from the version that it has reached."""
    passes = True
    """Whether the same request may well succeed later, without anybody's doing."""
    retry_after = 0.0
    """Seconds that the server asks us to wait; 0 when it does not."""


class KubeUnreachable(KubeError):
    """There was no complete answer: refused, timed out, cut off, silent."""


class KubeSilent(KubeUnreachable):
    """An answer under way stopped coming. For a watch of a kind that nobody writes to, that may be normal."""

    kind = "silent"


class ShortWatch(KubeError):
    """The server ended a watch at once, in good order, without an event."""

    kind = "short"
    needs_list = True


class OddObject(KubeError):
    """An answer or an object that is not what its kind says. The text tells the first thing that is wrong with it."""

    kind = "odd"
    needs_list = True
    passes = False


class KubeRefused(KubeError):
    """The API server answered with an error status."""

    def __init__(self, *, code: int, reason: str = "", message: str = "", retry_after: float = 0.0) -> None:
        super().__init__(f"{code} {reason}: {message}"[:_TEXT_LIMIT])
        self.code = code
        self.reason = reason
        self.retry_after = min(retry_after, _RETRY_AFTER_LIMIT)
        expired = code == 410 or reason in ("Expired", "Gone", "ResourceVersionTooLarge")
        self.kind = "expired" if expired else _KINDS.get(code, "refused")
        self.needs_list = expired or code not in _NOT_ABOUT_THE_REQUEST
        self.passes = not self.needs_list and code != 403


def decoded(decoder: msgspec.json.Decoder[Shape], data: Json) -> Shape:
    """Decode JSON. Raises `OddObject`."""
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise OddObject(str(error)) from error


def refusal(code: int, headers: Mapping[str, str], body: bytes) -> KubeRefused:
    """The error that an HTTP answer other than 2xx stands for. Its body should be a Status, but need not be."""
    try:
        status = decoded(_statuses, body)
    except OddObject:
        status = wire.Status(message=body[:_TEXT_LIMIT].decode(errors="replace"))
    return status_error(status, code=code, retry_after=_seconds(headers.get("Retry-After", "")))


def status_error(status: wire.Status, *, code: int = 0, retry_after: float = 0.0) -> KubeRefused:
    """The error that a Status object stands for: in a body, or in a watch's ERROR event."""
    details = status.details or wire.StatusDetails()
    causes = {cause.reason for cause in details.causes or ()}
    return KubeRefused(
        code=code or status.code,
        reason="ResourceVersionTooLarge" if "ResourceVersionTooLarge" in causes else status.reason,
        message=status.message,
        retry_after=retry_after or float(details.retry_after_seconds or 0),
    )


def _seconds(retry_after: str) -> float:
    """Retry-After in seconds; its other form, a date, no API server sends."""
    return float(retry_after) if retry_after.isdecimal() else 0.0
