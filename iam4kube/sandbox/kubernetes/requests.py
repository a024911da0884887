"""What an HTTP request asks of the API: verb, resource, name and options, out of its path and query."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

from iam4kube.sandbox.kubernetes.errors import ApiError, no_such_path
from iam4kube.sandbox.kubernetes.resources import BY_PATH, ResourceType

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, kw_only=True)
class ApiRequest:
    """One request for one resource type, in RBAC's words."""

    verb: str
    resource: ResourceType
    namespace: str | None
    """None: all namespaces, or the cluster's scope."""
    name: str
    """Empty for a collection."""
    subresource: str
    query: Mapping[str, str]

    @property
    def rbac_resource(self) -> str:
        """As a role would name it: `pods`, `pods/status`."""
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural

    def text(self, option: str) -> str:
        """An option as it stands, empty if it is not set."""
        return self.query.get(option, "")

    def number(self, option: str) -> int:
        """A whole number, 0 if it is not set. Raises 400."""
        text = self.query.get(option) or "0"
        if not text.isdecimal():
            raise ApiError(400, f'strconv.ParseUint: parsing "{text}": invalid syntax')
        return int(text)

    def flag(self, option: str) -> bool:
        """Whether an option is set to something that means yes."""
        return self.query.get(option, "") not in ("", "0", "false")


PRESENT = -1
"""The revision of a continuation that gave up on showing one consistent state."""


@dataclass(frozen=True)
class Continuation:
    """Where a paged list goes on: after `key`, at the revision of its first page."""

    revision: int
    key: str

    def encode(self) -> str:
        """As the opaque token that a client hands back."""
        return base64.urlsafe_b64encode(json.dumps([self.revision, self.key]).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, token: str) -> "Continuation":
        """Raises 400 for what this server never handed out."""
        try:
            revision, key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            return cls(int(revision), str(key))
        except (binascii.Error, ValueError, TypeError) as error:
            raise ApiError(400, f"continue key is not valid: {error}") from error


def parse_request(method: str, path: str, query: Mapping[str, str]) -> ApiRequest:
    """Take a request apart. Raises 404 for an unknown path and 405 for a method that fits nothing."""
    group, version, rest = _split_group(path.strip("/").split("/"))
    namespace = None
    if len(rest) >= 3 and rest[0] == "namespaces" and (group, version, rest[2]) in BY_PATH:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "", "")[:3]
    resource = BY_PATH.get((group, version, plural))
    if resource is None or len(rest) > 3 or (namespace is not None and not resource.namespaced):
        raise no_such_path()
    if subresource and not (subresource == "status" and resource.has_status):
        raise no_such_path()
    return ApiRequest(
        verb=_verb(method, name, query),
        resource=resource,
        namespace=namespace,
        name=name,
        subresource=subresource,
        query=query,
    )


def _split_group(steps: list[str]) -> tuple[str, str, list[str]]:
    if steps[:1] == ["api"] and len(steps) > 2:
        return "", steps[1], steps[2:]
    if steps[:1] == ["apis"] and len(steps) > 3:
        return steps[1], steps[2], steps[3:]
    raise no_such_path()


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    if method in ("GET", "HEAD"):
        if name:
            return "get"
        return "watch" if query.get("watch", "") in ("1", "true") else "list"
    if method == "DELETE" and name:
        return "delete"
    verb = _VERBS.get(method)
    if verb is None or (verb == "create") == bool(name):
        raise ApiError(405, "the server does not allow this method on the requested resource")
    return verb
