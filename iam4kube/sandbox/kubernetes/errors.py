"""What the API server says when it refuses: HTTP statuses with a Status object, worded as it words them.

Reasons and messages: k8s.io/apimachinery/pkg/api/errors, which clients match on.
"""

from collections.abc import Mapping
from typing import Any

from iam4kube.sandbox.kubernetes.resources import Object, ResourceType

REASONS: Mapping[int, str] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
"""The usual reason of a status, for faults that name only the status."""


class ApiError(Exception):
    """A request that is refused. `retry_after` is in seconds."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
        continue_token: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = REASONS.get(code, "") if reason is None else reason
        self.details = dict(details or {})
        self.retry_after = retry_after
        self.continue_token = continue_token
        if retry_after is not None:
            self.details["retryAfterSeconds"] = retry_after

    def status(self) -> Object:
        """The Status object: the body of the answer, or the object of an ERROR event."""
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.continue_token} if self.continue_token else {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status


def not_found(resource: ResourceType, name: str) -> ApiError:
    """There is no object of this name."""
    return ApiError(404, f'{resource.qualified} "{name}" not found', details=_about(resource, name))


def no_such_path() -> ApiError:
    """What an unknown resource or API group gets."""
    return ApiError(404, "the server could not find the requested resource")


def already_exists(resource: ResourceType, name: str) -> ApiError:
    """A create of what is there already."""
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, message, reason="AlreadyExists", details=_about(resource, name))


def conflict(resource: ResourceType, name: str, why: str) -> ApiError:
    """A write that assumes another version or another object of the same name."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, message, details=_about(resource, name))


def invalid(resource: ResourceType, name: str, why: str) -> ApiError:
    """An object that breaks the rules of its type."""
    message = f'{resource.kind} "{name}" is invalid: {why}'
    return ApiError(422, message, details=_about(resource, name))


def forbidden(resource: ResourceType, verb: str, *, namespace: str | None, user: str) -> ApiError:
    """RBAC's refusal: names user, verb, resource, group and scope."""
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = (
        f'{resource.qualified} is forbidden: User "{user}" cannot {verb} resource "{resource.plural}" '
        f'in API group "{resource.group}" {scope}'
    )
    details = {"group": resource.group} if resource.group else {}
    return ApiError(403, message, details={**details, "kind": resource.plural})


def expired(requested: int, oldest: int) -> ApiError:
    """A watch from before the last compaction."""
    return ApiError(410, f"too old resource version: {requested} ({oldest})")


def continue_expired(inconsistent_continue: str) -> ApiError:
    """A list whose state is compacted, with a token to go on from the same key in the present state."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
        "the results, which is then inconsistent."
    )
    return ApiError(410, message, continue_token=inconsistent_continue)


def too_large_version(requested: int, current: int) -> ApiError:
    """A list "not older than" a version that does not exist yet."""
    return ApiError(
        504,
        f"Too large resource version: {requested}, current: {current}",
        details={"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]},
        retry_after=1,
    )


def _about(resource: ResourceType, name: str) -> dict[str, Any]:
    about = {"name": name, "kind": resource.plural}
    return {**about, "group": resource.group} if resource.group else about
