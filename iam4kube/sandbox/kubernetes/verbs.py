"""Every verb but watch: a parsed request in, a status and an object out. Synchronous, no HTTP here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from iam4kube.sandbox.kubernetes.errors import ApiError
from iam4kube.sandbox.kubernetes.lists import list_objects
from iam4kube.sandbox.kubernetes.patches import merge_patch, strategic_merge_patch
from iam4kube.sandbox.kubernetes.registry import Registry
from iam4kube.sandbox.kubernetes.requests import ApiRequest
from iam4kube.sandbox.kubernetes.resources import Object
from iam4kube.sandbox.kubernetes.store import Store

Result: TypeAlias = tuple[int, Object]

_PATCHES: Mapping[str, Callable[[Object, Mapping[str, Any]], Object]] = {
    "application/merge-patch+json": merge_patch,
    "application/strategic-merge-patch+json": strategic_merge_patch,
}


@dataclass(frozen=True)
class Body:
    """What a request carries: decoded JSON, empty for none."""

    content_type: str
    content: Object


class Verbs:
    """Answers requests from the registry and the store."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._handlers: Mapping[str, Callable[[ApiRequest, Body], Result]] = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
        }

    def answer(self, request: ApiRequest, body: Body) -> Result:
        """Do what the request asks. Raises `ApiError`."""
        return self._handlers[request.verb](request, body)

    def _get(self, request: ApiRequest, _body: Body) -> Result:
        return 200, self._registry.read(request.resource, namespace=request.namespace, name=request.name)

    def _list(self, request: ApiRequest, _body: Body) -> Result:
        return 200, list_objects(self._store, request)

    def _create(self, request: ApiRequest, body: Body) -> Result:
        return 201, self._registry.create(request.resource, body.content, namespace=request.namespace)

    def _update(self, request: ApiRequest, body: Body) -> Result:
        return 200, self._registry.update(
            request.resource,
            body.content,
            namespace=request.namespace,
            name=request.name,
            subresource=request.subresource,
        )

    def _patch(self, request: ApiRequest, body: Body) -> Result:
        apply = _PATCHES.get(body.content_type)
        if apply is None:
            supported = ", ".join(_PATCHES)
            raise ApiError(415, f"the body of the request was in an unknown format - accepted media types: {supported}")
        return 200, self._registry.change(
            request.resource,
            lambda old: apply(old, body.content),
            namespace=request.namespace,
            name=request.name,
            subresource=request.subresource,
        )

    def _delete(self, request: ApiRequest, body: Body) -> Result:
        options = body.content
        if request.text("gracePeriodSeconds"):
            options = {**options, "gracePeriodSeconds": request.number("gracePeriodSeconds")}
        deleted = self._registry.delete(
            request.resource, namespace=request.namespace, name=request.name, options=options
        )
        if request.resource.returns_deleted:
            return 200, deleted
        details = {"name": request.name, "kind": request.resource.plural, "uid": deleted["metadata"]["uid"]}
        success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return 200, success
