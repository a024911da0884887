"""The pods, by each of their addresses, and how many pods use each ServiceAccount."""

from collections.abc import Callable, Hashable

from iam4kube.identity.nodes import NodeTable
from iam4kube.identity.outcomes import address_key
from iam4kube.kube.objects import Address, Pod
from iam4kube.runtime.waits import Waits

PodCount = Callable[[str, str, int], None]
"""Hears of a ServiceAccount (namespace, name) and the number of unfinished pods that use it now."""


class PodTable:
    """Owns the index of addresses. A handler of the Pods watch.

    An address maps to the pod itself where one pod claims it, which is the rule: a tuple for each of 150,000
    pods would cost 8 MiB. Where several do, they stand in the order in which their kubelets' claims came in.
    """

    def __init__(
        self, *, waits: Waits, nodes: NodeTable, count: PodCount, in_order: Callable[[], bool] = lambda: True
    ) -> None:
        """`in_order`: whether changes come as they were made now; a list's items do not."""
        self._waits = waits
        self._nodes = nodes
        self._count = count
        self._in_order = in_order
        self._unordered: set[Address] = set()
        self._claims: dict[Address, Pod | tuple[Pod, ...]] = {}
        self._users: dict[tuple[str, str], int] = {}
        self._boots: dict[tuple[str, str], str] = {}

    def __len__(self) -> int:
        """How many addresses are claimed."""
        return len(self._claims)

    def claims(self, address: Address) -> tuple[Pod, ...]:
        """Every unfinished pod whose status names this address; the newest claim last, if they `are_ordered`."""
        claim = self._claims.get(address)
        if claim is None:
            return ()
        return claim if isinstance(claim, tuple) else (claim,)

    def are_ordered(self, address: Address) -> bool:
        """Whether the order of the claims on this address is known: not if a list brought several."""
        return address not in self._unordered

    def users(self, *, namespace: str, service_account: str) -> int:
        """How many unfinished pods use this ServiceAccount."""
        return self._users.get((namespace, service_account), 0)

    def is_void(self, pod: Pod) -> bool:
        """Whether the pod's node has rebooted since the kubelet last wrote the pod's status.

        Its address may belong to another pod by now: the CNI starts afresh.
        """
        node = self._nodes.get(pod.node)
        if node is None or not node.boot_id:
            return False
        written_under = self._boots.get((pod.namespace, pod.name)) or self._nodes.first_boot(pod.node)
        return written_under is not None and written_under != node.boot_id

    def changed(self, old: Pod | None, new: Pod | None) -> None:
        """Take in one change of the watch (its handler)."""
        self._note_boot(old, new)
        if old is not None and new is not None and _claims_alike(old, new):
            self._replace(new)
        else:
            if old is not None:
                self._withdraw(old)
            if new is not None:
                self._claim(new)
        self._note_use(old, new)
        for key in _address_keys(old, new):
            self._waits.wake(key)

    def _note_boot(self, old: Pod | None, new: Pod | None) -> None:
        """Remember under which boot a status was written, for the few pods of nodes that have rebooted."""
        if new is None:
            if old is not None:
                self._boots.pop((old.namespace, old.name), None)
            return
        if old is not None and old.status_mark == new.status_mark:
            return
        node = self._nodes.get(new.node)
        if node is not None and node.boot_id != self._nodes.first_boot(new.node):
            self._boots[new.namespace, new.name] = node.boot_id

    def _withdraw(self, pod: Pod) -> None:
        for address in pod.addresses:
            left = tuple(other for other in self.claims(address) if other.uid != pod.uid)
            if len(left) > 1:
                self._claims[address] = left
                continue
            self._unordered.discard(address)
            if left:
                self._claims[address] = left[0]
            else:
                self._claims.pop(address, None)

    def _claim(self, pod: Pod) -> None:
        if pod.finished:
            return
        for address in pod.addresses:
            others = self.claims(address)
            self._claims[address] = (*others, pod) if others else pod
            if others and not self._in_order():
                self._unordered.add(address)

    def _replace(self, pod: Pod) -> None:
        """Nothing that the kubelet writes has changed: the claim is as old as it was."""
        if pod.finished:
            return
        for address in pod.addresses:
            claims = tuple(pod if claim.uid == pod.uid else claim for claim in self.claims(address))
            self._claims[address] = claims[0] if len(claims) == 1 else claims

    def _note_use(self, old: Pod | None, new: Pod | None) -> None:
        before, after = _user(old), _user(new)
        if before == after:
            return
        for user, change in ((before, -1), (after, 1)):
            if user is not None:
                self._users[user] = self._users.get(user, 0) + change
                self._count(*user, self._users[user])
                if not self._users[user]:
                    del self._users[user]


def _claims_alike(old: Pod, new: Pod) -> bool:
    return (old.status_mark, old.addresses, old.finished) == (new.status_mark, new.addresses, new.finished)


def _user(pod: Pod | None) -> tuple[str, str] | None:
    if pod is None or pod.finished or pod.host_network:
        return None
    return pod.namespace, pod.service_account


def _address_keys(old: Pod | None, new: Pod | None) -> set[Hashable]:
    return {address_key(address) for pod in (old, new) if pod is not None for address in pod.addresses}
