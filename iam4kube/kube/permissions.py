"""The RBAC rules that each program needs, as data: the manifests, the documentation and the log lines agree with it."""

from dataclasses import dataclass
from typing import Any, Final

from iam4kube.kube.resources import NODES, PODS, SERVICE_ACCOUNTS, Resource


@dataclass(frozen=True, kw_only=True)
class Permission:
    """One rule of a ClusterRole."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str


def _watch(resource: Resource[Any], *more: str, why: str) -> Permission:
    return Permission(group=resource.group, resource=resource.plural, verbs=("list", "watch", *more), why=why)


EVENTS: Final = Permission(
    group="", resource="events", verbs=("create", "patch"), why="tell on the pod which role it got, or why none"
)

SERVER_PERMISSIONS: Final = (
    _watch(PODS, "get", why="who has an address; get settles two claims and a stale watch"),
    _watch(SERVICE_ACCOUNTS, "get", why="which role a pod has; get confirms an annotation set a moment ago"),
    _watch(NODES, why="addresses that belong to nodes, reboots, region and zone"),
    EVENTS,
)
"""Of the credential server, all cluster-wide."""
