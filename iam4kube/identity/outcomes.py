"""What the question "who is asking?" can come to.

A settled outcome is an answer. An open one says what is missing: something to wait for, or something to
confirm with a live read; after either, the whole chain is evaluated again.
"""

from collections.abc import Hashable
from enum import StrEnum

import msgspec

from iam4kube.kube.objects import Address, Node, Pod, ServiceAccount
from iam4kube.roles import Role, RoleKey


class Reason(StrEnum):
    """Why an outcome is not a role. Safe as a metric's label."""

    # Refused: asking again changes nothing.
    NODE_ADDRESS = "node_address"
    """hostNetwork pod, host process or masqueraded traffic: they share the node's address."""
    STALE = "stale"
    """Cut off from the API server for longer than `--max-stale`."""
    # No role.
    NO_ANNOTATION = "no_annotation"
    NO_SERVICE_ACCOUNT = "no_service_account"
    """A static pod: the kubelet's mirror of it has none, and never will."""
    INVALID_ROLE = "invalid_role"
    STS_REFUSES = "sts_refuses"
    # Unavailable: may be different a moment later.
    AMBIGUOUS = "ambiguous"
    """Two pods claim the address, and a live read of both did not settle it."""
    UNCONFIRMED = "unconfirmed"
    """Too many live reads under way to confirm this one in time."""
    SHUTTING_DOWN = "shutting_down"
    # Waited for; also why a deadline was reached.
    NOT_SYNCED = "not_synced"
    UNKNOWN_ADDRESS = "unknown_address"
    NODE_REBOOTED = "node_rebooted"
    """A pod claims the address, but as far as is known its status is from before its node's reboot."""
    UNKNOWN_NODE = "unknown_node"
    UNKNOWN_SERVICE_ACCOUNT = "unknown_service_account"
    NO_CREDENTIALS_YET = "no_credentials_yet"
    CONFIRMING = "confirming"


class Identified(msgspec.Struct, frozen=True):
    """The pod, its ServiceAccount and the role that this names."""

    pod: Pod
    account: ServiceAccount
    node: Node
    role: Role
    key: RoleKey


class Located(msgspec.Struct, frozen=True):
    """Where the asker runs: all that region and zone need. `pod` is None when the node itself asks."""

    pod: Pod | None
    node: Node


class NoRole(msgspec.Struct, frozen=True):
    """The pod is known and has no role to get."""

    reason: Reason
    pod: Pod
    detail: str = ""
    """For the pod's owner: what is wrong and what to do. Empty where the reason says it all."""


class Refused(msgspec.Struct, frozen=True):
    """An address that is not served."""

    reason: Reason
    pod: Pod | None = None


class Unavailable(msgspec.Struct, frozen=True):
    """Not certain now. No answer is better than a wrong one."""

    reason: Reason
    pod: Pod | None = None
    role: Role | None = None
    """The pod's role, where only its credentials are missing."""


class Pending(msgspec.Struct, frozen=True):
    """Not known yet: wait on any of `on` (keys of `runtime.waits`), then evaluate again."""

    reason: Reason
    on: tuple[Hashable, ...]


class ConfirmPods(msgspec.Struct, frozen=True):
    """Read these pods live, then evaluate again."""

    pods: tuple[Pod, ...]


class ConfirmAccount(msgspec.Struct, frozen=True):
    """Read this ServiceAccount live, then evaluate again."""

    namespace: str
    name: str


Settled = Identified | NoRole | Refused | Unavailable
Open = Pending | ConfirmPods | ConfirmAccount

SYNC_KEY: Hashable = ("sync",)
"""Woken once all watches have delivered their first list."""


def address_key(address: Address) -> Hashable:
    """Woken when a pod or node that has, had or gets this address changes."""
    return ("address", address)


def node_key(name: str) -> Hashable:
    """Woken when the node of this name appears, changes or goes."""
    return ("node", name)


def account_key(*, namespace: str, name: str) -> Hashable:
    """Woken when this ServiceAccount appears, changes or goes."""
    return ("account", namespace, name)
