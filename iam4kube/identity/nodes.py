"""The nodes: whose addresses are refused, which pods' addresses a reboot made void."""

from collections import OrderedDict

from iam4kube.identity.outcomes import address_key, node_key
from iam4kube.kube.objects import Address, Node
from iam4kube.runtime.waits import Waits

# Names of deleted nodes that are remembered, so that their pods are told from pods of a node not seen yet.
# Pods of a deleted node are collected within minutes (40 s interval, kube-controller-manager); twice the
# largest cluster's nodes outlast that.
_GONE_LIMIT = 10_000


class NodeTable:
    """Owns what is known of nodes. A handler of the Nodes watch."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._nodes: dict[str, Node] = {}
        self._holders: dict[Address, frozenset[str]] = {}
        self._first_boots: dict[str, str] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, name: str) -> Node | None:
        """The node of this name, if its object exists."""
        return self._nodes.get(name)

    def is_gone(self, name: str) -> bool:
        """Whether the node was seen and its object is gone, as opposed to not seen yet."""
        return name in self._gone

    def at(self, address: Address) -> Node | None:
        """The node that has this address."""
        holders = self._holders.get(address)
        return self._nodes[min(holders)] if holders else None

    def first_boot(self, name: str) -> str | None:
        """The boot ID under which the node was first seen: that of every pod's status not written since."""
        return self._first_boots.get(name)

    def changed(self, old: Node | None, new: Node | None) -> None:
        """Take in one change of the watch (its handler)."""
        if old is not None:
            self._drop(old, stays=new is not None)
        if new is not None:
            self._add(new)
        for node in (old, new):
            if node is not None:
                self._wake(node)

    def _drop(self, node: Node, *, stays: bool) -> None:
        for address in node.addresses:
            left = self._holders.get(address, frozenset()) - {node.name}
            if left:
                self._holders[address] = left
            else:
                self._holders.pop(address, None)
        if not stays:
            del self._nodes[node.name]
            self._remember_gone(node.name)

    def _add(self, node: Node) -> None:
        self._nodes[node.name] = node
        self._gone.pop(node.name, None)
        if node.boot_id:
            self._first_boots.setdefault(node.name, node.boot_id)
        for address in node.addresses:
            self._holders[address] = self._holders.get(address, frozenset()) | {node.name}

    def _remember_gone(self, name: str) -> None:
        self._gone[name] = None
        while len(self._gone) > _GONE_LIMIT:
            forgotten, _ = self._gone.popitem(last=False)
            self._first_boots.pop(forgotten, None)

    def _wake(self, node: Node) -> None:
        self._waits.wake(node_key(node.name))
        for address in node.addresses:
            self._waits.wake(address_key(address))
