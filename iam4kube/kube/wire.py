"""Objects as the API server sends them, reduced to the fields that are read; msgspec skips the rest.

Only these shapes touch JSON. Each lives for microseconds: `decoding` turns it into a flat struct at once.
Everything is optional where the API allows it to be absent, and null counts as absent. Frozen structs
hash by value, which is how a status is digested.
"""

import msgspec


class Wire(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Base of the wire shapes: camelCase names, no garbage-collector tracking (they hold no cycles)."""


class ObjectMeta(Wire, frozen=True):
    """`metadata` of any object."""

    name: str
    uid: str
    resource_version: str
    namespace: str = ""
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class PodMeta(Wire, frozen=True):
    """`metadata` of a Pod: without labels and annotations, which nobody reads and which are long."""

    name: str
    uid: str
    resource_version: str
    namespace: str = ""
    deletion_timestamp: str | None = None


class Partial(Wire, frozen=True):
    """Any object, as far as it says which one it is."""

    metadata: ObjectMeta


class Waiting(Wire, frozen=True):
    """State of a container that does not run yet, or not again."""

    reason: str = ""


class Running(Wire, frozen=True):
    """State of a container that runs."""

    started_at: str | None = None


class Terminated(Wire, frozen=True):
    """State of a container that ended."""

    exit_code: int = 0
    started_at: str | None = None
    finished_at: str | None = None


class ContainerState(Wire, frozen=True):
    """At most one of its members is set."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(Wire, frozen=True):
    """One container, as the kubelet reports it."""

    name: str = ""
    container_id: str = msgspec.field(name="containerID", default="")
    restart_count: int = 0
    state: ContainerState | None = None


class PodIP(Wire, frozen=True):
    """An entry of `status.podIPs`."""

    ip: str = ""


class PodSpec(Wire, frozen=True):
    """`spec` of a Pod."""

    service_account_name: str = ""
    node_name: str = ""
    host_network: bool = False


class PodStatus(Wire, frozen=True):
    """`status` of a Pod: the parts that the kubelet alone writes, besides the phase."""

    phase: str = ""
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(name="podIPs", default=None)
    start_time: str | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    ephemeral_container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(Wire, frozen=True):
    """A Pod."""

    metadata: PodMeta
    spec: PodSpec
    status: PodStatus | None = None


class NodeAddress(Wire, frozen=True):
    """An entry of a Node's `status.addresses`."""

    type: str
    address: str


class NodeCondition(Wire, frozen=True):
    """An entry of a Node's `status.conditions`."""

    type: str
    status: str


class NodeInfo(Wire, frozen=True):
    """A Node's `status.nodeInfo`."""

    boot_id: str = msgspec.field(name="bootID", default="")


class NodeStatus(Wire, frozen=True):
    """`status` of a Node."""

    addresses: tuple[NodeAddress, ...] | None = None
    conditions: tuple[NodeCondition, ...] | None = None
    node_info: NodeInfo | None = None


class Node(Wire, frozen=True):
    """A Node."""

    metadata: ObjectMeta
    status: NodeStatus | None = None


class TaintedSpec(Wire, frozen=True):
    """`spec` of a Node, as far as taints go: with all their fields, also those that nobody knows yet."""

    taints: tuple[dict[str, object], ...] | None = None


class TaintedNode(Wire, frozen=True):
    """A Node, as far as taints go."""

    metadata: ObjectMeta
    spec: TaintedSpec | None = None


class ListMeta(Wire, frozen=True):
    """`metadata` of a list."""

    resource_version: str
    continue_: str | None = msgspec.field(name="continue", default=None)


class Page(Wire, frozen=True):
    """One page of a list, its items still undecoded: one odd item must not cost the others."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class WatchEvent(Wire, frozen=True):
    """One line of a watch, its object still undecoded."""

    type: str
    object: msgspec.Raw


class StatusCause(Wire, frozen=True):
    """An entry of a Status' `details.causes`."""

    reason: str = ""


class StatusDetails(Wire, frozen=True):
    """A Status' `details`."""

    retry_after_seconds: int | None = None
    causes: tuple[StatusCause, ...] | None = None


class Status(Wire, frozen=True):
    """What the API server answers instead of an object: `kind: Status`."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None


class BookmarkMeta(Wire, frozen=True):
    """`metadata` of a bookmark: nothing but the version is set."""

    resource_version: str


class Bookmark(Wire, frozen=True):
    """The object of a BOOKMARK event."""

    metadata: BookmarkMeta
