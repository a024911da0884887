"""The RBAC rules that each program needs, as data: the manifests, the documentation and the log lines agree with it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from iam4kube.kube.resources import ENDPOINT_SLICES, NODES, PODS, SERVICE_ACCOUNTS, SERVICES, Resource


class Scope(StrEnum):
    """Where a rule holds."""

    CLUSTER = "cluster"
    """Everywhere, by a ClusterRole."""
    SERVICE_NAMESPACE = "the Service's namespace"
    """By a Role there. The servers' own namespace is the same."""
    DEFAULT_NAMESPACE = "default"
    """By a Role there: events about nodes are in that namespace, since nodes are in none."""


@dataclass(frozen=True, kw_only=True)
class Permission:
    """One rule of a ClusterRole or of a Role."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    """The only objects that it is about; empty: all."""
    scope: Scope = Scope.CLUSTER
    why: str


def _watch(resource: Resource[Any], *more: str, scope: Scope = Scope.CLUSTER, why: str) -> Permission:
    verbs = ("list", "watch", *more)
    return Permission(group=resource.group, resource=resource.plural, verbs=verbs, scope=scope, why=why)


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

TOKEN_KEY_PERMISSION: Final = Permission(
    group="",
    resource="secrets",
    names=("iam4kube-token-keys",),
    verbs=("get", "patch"),
    scope=Scope.SERVICE_NAMESPACE,
    why="put the first token key into that one Secret, unless it has one",
)
"""Of the Job that makes the first token key (`iam4kube token-key ensure-secret`)."""

ROUTER_PERMISSIONS: Final = (
    _watch(SERVICES, scope=Scope.SERVICE_NAMESPACE, why="the address and the port that packets are rewritten to"),
    _watch(ENDPOINT_SLICES, scope=Scope.SERVICE_NAMESPACE, why="whether a server is ready, and where"),
    Permission(
        group="", resource="nodes", verbs=("get",), why="zone and addresses of its own node; RBAC cannot say which one"
    ),
    Permission(
        group="",
        resource="events",
        verbs=("create", "patch"),
        scope=Scope.DEFAULT_NAMESPACE,
        why="tell on the node that its routing is broken, or mended",
    ),
)
"""Of the router."""

STARTUP_TAINT_PERMISSION: Final = Permission(
    group="", resource="nodes", verbs=("patch",), why="remove the startup taint from its own node"
)
"""Of the router on top, and only with `--remove-startup-taint`: it is a permission on every node."""
