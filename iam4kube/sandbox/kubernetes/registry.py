"""What an API server does to an object on its way to the store, and what it refuses.

Identity (uid, creationTimestamp), optimistic concurrency, the split between an object and its status, and
graceful deletion: a pod on a node stays, with a `deletionTimestamp`, until its kubelet deletes it once more
with a grace period of zero. There is no kubelet here, so somebody has to.
"""

import copy
import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from iam4kube.runtime.clock import Now
from iam4kube.sandbox.kubernetes.errors import ApiError, already_exists, conflict, invalid, not_found
from iam4kube.sandbox.kubernetes.resources import BY_PLURAL, Object, ResourceType, make_key
from iam4kube.sandbox.kubernetes.store import Store

_DEFAULT_GRACE = 30  # seconds: the default of a pod's terminationGracePeriodSeconds
_SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "namespace", "name")


class Registry:
    """Reads and writes single objects, by the API server's rules. Synchronous."""

    def __init__(self, store: Store, *, now: Now) -> None:
        self._store = store
        self._now = now

    def read(self, resource: ResourceType, *, namespace: str | None, name: str) -> Object:
        """The stored object, not to be changed. Raises 404."""
        obj = self._store.get(resource, make_key(namespace, name))
        if obj is None:
            raise not_found(resource, name)
        return obj

    def create(
        self, resource: ResourceType, obj: Object, *, namespace: str | None, keep_status: bool = False
    ) -> Object:
        """Store a new object. Raises 404 for its namespace, 409 if it exists, 422 without a name."""
        self._check_namespace(resource, namespace)
        obj = copy.deepcopy(obj)
        metadata = obj.setdefault("metadata", {})
        name = _name_of(resource, metadata)
        if self._store.get(resource, make_key(namespace, name)) is not None:
            raise already_exists(resource, name)
        self._claim(metadata, namespace=namespace, name=name)
        obj.update(apiVersion=resource.api_version, kind=resource.kind)
        if resource.has_status and not (keep_status or resource.status_on_create):
            obj["status"] = _initial_status(resource)
        return self._store.put(resource, make_key(namespace, name), obj)

    def update(
        self, resource: ResourceType, obj: Object, *, namespace: str | None, name: str, subresource: str = ""
    ) -> Object:
        """Replace an object, or only its status, or only all but its status. Raises 404, 409, 422."""
        old = self.read(resource, namespace=namespace, name=name)
        _check_preconditions(resource, old, obj.get("metadata", {}))
        if obj.get("metadata", {}).get("name", name) != name:
            raise ApiError(400, "the name of the object does not match the name on the URL")
        return self._replace(resource, old, copy.deepcopy(obj), subresource=subresource)

    def change(
        self,
        resource: ResourceType,
        alter: Callable[[Object], Object],
        *,
        namespace: str | None,
        name: str,
        subresource: str = "",
    ) -> Object:
        """Store what `alter` (pure) makes of the object: a patch. Raises 404, 409."""
        old = self.read(resource, namespace=namespace, name=name)
        altered = alter(old)
        _check_preconditions(resource, old, altered.get("metadata", {}))
        return self._replace(resource, old, altered, subresource=subresource)

    def overwrite(self, resource: ResourceType, obj: Object, *, namespace: str | None, name: str) -> Object:
        """Replace object and status in one revision, as no client can: for tests that set the scene."""
        old = self.read(resource, namespace=namespace, name=name)
        return self._put_if_changed(resource, old, copy.deepcopy(obj))

    def delete(self, resource: ResourceType, *, namespace: str | None, name: str, options: Mapping[str, Any]) -> Object:
        """Remove an object, or begin its graceful deletion; `options` as in DeleteOptions. Raises 404, 409."""
        obj = self.read(resource, namespace=namespace, name=name)
        _check_preconditions(resource, obj, options.get("preconditions") or {})
        grace = _grace_period(obj, options.get("gracePeriodSeconds")) if resource.graceful else 0
        if grace > 0 or obj["metadata"].get("deletionTimestamp") is not None:
            obj = self._put_if_changed(resource, obj, {**obj, "metadata": self._terminating(obj["metadata"], grace)})
        return obj if grace > 0 else self._store.remove(resource, make_key(namespace, name))

    def _terminating(self, metadata: Object, grace: int) -> Object:
        """The metadata of an object that has `grace` seconds; a later delete only shortens what it had before."""
        before, since = metadata.get("deletionGracePeriodSeconds"), self._now()
        if before is not None:
            grace = min(grace, before)
            since = datetime.fromisoformat(metadata["deletionTimestamp"]) - timedelta(seconds=before)
        deletion = _timestamp(since + timedelta(seconds=grace))
        return {**metadata, "deletionTimestamp": deletion, "deletionGracePeriodSeconds": grace}

    def _replace(self, resource: ResourceType, old: Object, new: Object, *, subresource: str) -> Object:
        metadata = new.setdefault("metadata", {})
        metadata.update({field: old["metadata"][field] for field in _SERVER_OWNED if field in old["metadata"]})
        new.update(apiVersion=resource.api_version, kind=resource.kind)
        if subresource == "status":
            new = {**old, "metadata": metadata, "status": new.get("status", {})}
        elif resource.has_status:
            new = {**new, "status": old.get("status", {})}
        return self._put_if_changed(resource, old, new)

    def _put_if_changed(self, resource: ResourceType, old: Object, new: Object) -> Object:
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if new == old:
            return old  # a write that changes nothing takes no revision and makes no watch event
        return self._store.put(resource, make_key(old["metadata"].get("namespace"), old["metadata"]["name"]), new)

    def _claim(self, metadata: Object, *, namespace: str | None, name: str) -> None:
        metadata.update(name=name, uid=str(uuid.uuid4()), creationTimestamp=_timestamp(self._now()))
        if namespace is not None:
            metadata["namespace"] = namespace

    def _check_namespace(self, resource: ResourceType, namespace: str | None) -> None:
        if resource.namespaced and (namespace is None or self._store.get(BY_PLURAL["namespaces"], namespace) is None):
            raise not_found(BY_PLURAL["namespaces"], namespace or "")


def _timestamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _name_of(resource: ResourceType, metadata: Mapping[str, Any]) -> str:
    if metadata.get("name"):
        return str(metadata["name"])
    if metadata.get("generateName"):
        return f"{metadata['generateName']}{secrets.token_hex(3)[:5]}"
    raise invalid(resource, "", "metadata.name: Required value: name or generateName is required")


def _initial_status(resource: ResourceType) -> Object:
    return {"phase": "Pending", "qosClass": "BestEffort"} if resource.kind == "Pod" else {}


def _check_preconditions(resource: ResourceType, obj: Object, wanted: Mapping[str, Any]) -> None:
    """Optimistic concurrency: whatever the client says of version and uid must be true."""
    metadata = obj["metadata"]
    if wanted.get("uid") not in (None, "", metadata["uid"]):
        why = f"Precondition failed: UID in precondition: {wanted['uid']}, UID in object meta: {metadata['uid']}"
        raise conflict(resource, metadata["name"], why)
    if wanted.get("resourceVersion") not in (None, "", metadata["resourceVersion"]):
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise conflict(resource, metadata["name"], why)


def _grace_period(pod: Object, asked: int | None) -> int:
    """Seconds, as podStrategy.CheckGracefulDelete: none for a pod that runs nowhere or has finished."""
    if not pod.get("spec", {}).get("nodeName") or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    if asked is not None:
        return max(0, asked)
    grace = pod["spec"].get("terminationGracePeriodSeconds")
    return _DEFAULT_GRACE if grace is None else int(grace)
