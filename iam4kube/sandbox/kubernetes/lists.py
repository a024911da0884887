"""Collections: pages of one consistent state, however long a client takes to read them."""

from dataclasses import dataclass

from iam4kube.sandbox.kubernetes.errors import ApiError, continue_expired, too_large_version
from iam4kube.sandbox.kubernetes.requests import PRESENT, ApiRequest, Continuation
from iam4kube.sandbox.kubernetes.resources import Object
from iam4kube.sandbox.kubernetes.selectors import selector
from iam4kube.sandbox.kubernetes.store import Store


@dataclass(frozen=True)
class _Span:
    """Which state a list shows, and from where."""

    revision: int
    after: str
    """The last key of the page before; empty for the first page."""
    limit: int
    """0 for everything."""


def list_objects(store: Store, request: ApiRequest) -> Object:
    """The list object that answers the request. Raises 400, 410 for a compacted state, 504 for a future one."""
    span = _span(store, request)
    if span.after and span.revision < store.compacted:
        raise continue_expired(Continuation(PRESENT, span.after).encode())
    keys, objects = _selected(store, request, span)
    shown = keys[: span.limit] if span.limit else keys
    metadata: Object = {"resourceVersion": str(span.revision)}
    if len(shown) < len(keys):
        metadata["continue"] = Continuation(span.revision, shown[-1]).encode()
        if not request.text("labelSelector") and not request.text("fieldSelector"):
            metadata["remainingItemCount"] = len(keys) - len(shown)
    return {
        "kind": f"{request.resource.kind}List",
        "apiVersion": request.resource.api_version,
        "metadata": metadata,
        "items": [_without_type(objects[key]) for key in shown],
    }


def _span(store: Store, request: ApiRequest) -> _Span:
    limit, token, version = request.number("limit"), request.text("continue"), request.number("resourceVersion")
    if token:
        if request.text("resourceVersion") not in ("", "0"):
            raise ApiError(400, "specifying resource version is not allowed when using continue")
        continuation = Continuation.decode(token)
        revision = store.revision if continuation.revision == PRESENT else continuation.revision
        return _Span(revision, continuation.key, limit)
    if version > store.revision:
        raise too_large_version(version, store.revision)
    if request.text("resourceVersionMatch") == "Exact":
        return _Span(version, "", limit)
    if request.text("resourceVersion") == "0":
        return _Span(store.revision, "", 0)  # the watch cache answers, and that knows no pages
    return _Span(store.revision, "", limit)


def _selected(store: Store, request: ApiRequest, span: _Span) -> tuple[list[str], dict[str, Object]]:
    """All keys after the span's beginning that the request selects, in order, and the objects of that state."""
    selects = selector(request.resource, labels=request.text("labelSelector"), fields=request.text("fieldSelector"))
    prefix = f"{request.namespace}/" if request.namespace is not None else ""
    objects = store.objects(request.resource, at=span.revision)
    keys = [key for key in objects if key > span.after and key.startswith(prefix) and selects(objects[key])]
    return sorted(keys), objects


def _without_type(obj: Object) -> Object:
    """The API server leaves `kind` and `apiVersion` out of a built-in type's list items."""
    return {field: value for field, value in obj.items() if field not in ("kind", "apiVersion")}
