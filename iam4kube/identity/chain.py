"""The chain from an address to a role, evaluated synchronously and always from the top.

The rows of the design's table, in its order. No row guesses: what the tables cannot settle is confirmed by a
live read, and refused if that does not settle it either.
"""

from collections.abc import Hashable
from typing import Protocol

from iam4kube.identity.accounts import AccountTable, Binding
from iam4kube.identity.confirmations import Confirmations
from iam4kube.identity.nodes import NodeTable
from iam4kube.identity.outcomes import (
    SYNC_KEY,
    ConfirmAccount,
    ConfirmPods,
    Identified,
    Located,
    NoRole,
    Open,
    Pending,
    Reason,
    Refused,
    Settled,
    Unavailable,
    account_key,
    address_key,
    node_key,
)
from iam4kube.identity.pods import PodTable
from iam4kube.kube.objects import Address, Node, Pod
from iam4kube.runtime.clock import Now

# A bookmark comes every minute (kube-apiserver's defaultBookmarkFrequency): a watch silent for this long is
# not to be relied upon.
STALE_AFTER = 90.0  # seconds
# A terminating pod keeps its address until its deletionTimestamp, which already contains the grace period;
# objects stuck for days must not keep one (kubernetes #93925).
TERMINATION_SLACK = 5.0  # seconds, for the kubelet to report and for clocks to differ


class Freshness(Protocol):
    """How far the watches can be relied upon."""

    @property
    def synced(self) -> bool:
        """Whether every watch has delivered its first list."""
        ...

    def age(self) -> float:
        """Seconds since the quietest watch last said anything: an event, a bookmark or a list."""
        ...


class Chain:
    """Evaluates who an address is. Reads the tables, owns nothing."""

    def __init__(
        self,
        *,
        nodes: NodeTable,
        pods: PodTable,
        accounts: AccountTable,
        confirmations: Confirmations,
        freshness: Freshness,
        now: Now,
        max_stale: float,
    ) -> None:
        """`max_stale`: seconds for which known pods are served while the API server is out of reach."""
        self._nodes = nodes
        self._pods = pods
        self._accounts = accounts
        self._confirmations = confirmations
        self._freshness = freshness
        self._now = now
        self._max_stale = max_stale

    def evaluate(self, address: Address) -> Settled | Open:
        """Who asks from `address`, as far as the role."""
        placed = self._pod_and_node_at(address)
        if not isinstance(placed, tuple):
            return placed
        pod, node = placed
        stale = self._freshness.age() > STALE_AFTER
        unconfirmed = self._unconfirmed(pod) if stale else None
        if unconfirmed is not None:
            return unconfirmed
        if not pod.service_account:
            return NoRole(Reason.NO_SERVICE_ACCOUNT, pod)
        binding = self._binding_of(pod, address, stale=stale)
        if not isinstance(binding, Binding):
            return binding
        if binding.role is None or binding.key is None:
            return self._without_role(pod, binding)
        return Identified(pod, binding.account, node, binding.role, binding.key)

    def locate(self, address: Address) -> Located | Refused | Unavailable | Open:
        """On which node the asker runs. A node's own address is that node's."""
        if self._freshness.synced:
            own = self._nodes.at(address)
            if own is not None:
                return Located(None, own)
        placed = self._pod_and_node_at(address)
        return Located(*placed) if isinstance(placed, tuple) else placed

    def _pod_and_node_at(self, address: Address) -> tuple[Pod, Node] | Refused | Unavailable | Open:
        pod = self._pod_at(address)
        if not isinstance(pod, Pod):
            return pod
        node = self._nodes.get(pod.node)
        if node is None:
            return Pending(Reason.UNKNOWN_NODE, (node_key(pod.node), address_key(address)))
        return pod, node

    def _pod_at(self, address: Address) -> Pod | Refused | Unavailable | Open:
        if not self._freshness.synced:
            return Pending(Reason.NOT_SYNCED, (SYNC_KEY,))
        if self._nodes.at(address) is not None:
            return Refused(Reason.NODE_ADDRESS)
        candidates = self._candidates(address)
        if not candidates:
            return Pending(self._why_nobody(address), self._keys_of(address))
        for pod in candidates:
            if pod.host_network:
                return Refused(Reason.NODE_ADDRESS, pod)
        if self._has_newer_claim(candidates[-1], address):
            return Pending(Reason.UNKNOWN_ADDRESS, self._keys_of(address))
        return candidates[0] if len(candidates) == 1 else self._settle(candidates, address)

    def _why_nobody(self, address: Address) -> Reason:
        is_void = any(self._pods.is_void(pod) for pod in self._pods.claims(address))
        return Reason.NODE_REBOOTED if is_void else Reason.UNKNOWN_ADDRESS

    def _keys_of(self, address: Address) -> tuple[Hashable, ...]:
        """What could make the address somebody's: a claim on it, or that the node of one it has comes back."""
        return (address_key(address), *{node_key(pod.node) for pod in self._pods.claims(address)})

    def _candidates(self, address: Address) -> list[Pod]:
        views = (self._view(pod) for pod in self._pods.claims(address) if not self._pods.is_void(pod))
        return [pod for pod in views if pod is not None and self._may_hold(pod, address)]

    def _has_newer_claim(self, pod: Pod, address: Address) -> bool:
        """Whether the newest claim is another pod's, void or run out as it may be.

        Since that one held the address, `pod` holds it no longer: an answer is for whoever claims it next.
        """
        claims = self._pods.claims(address)
        return len(claims) > 1 and self._pods.are_ordered(address) and claims[-1].uid != pod.uid

    def _view(self, pod: Pod) -> Pod | None:
        """The pod as a live read has shown it, where there was one; None if it is gone."""
        remembered = self._confirmations.pod(pod)
        return pod if remembered is None else remembered.found

    def _may_hold(self, pod: Pod, address: Address) -> bool:
        if pod.finished or address not in pod.addresses or self._nodes.is_gone(pod.node):
            return False
        return pod.deletion is None or self._now().timestamp() <= pod.deletion + TERMINATION_SLACK

    def _settle(self, candidates: list[Pod], address: Address) -> Pod | Unavailable | Open:
        """The claimant that is better in something and worse in nothing than each other one.

        Better is: not terminating; on a Ready node; claiming later. A pod that is not terminating, but on a
        silent node, or with the older claim, against a terminating one, is no such case: it may have lost its
        address and nobody has said so yet. Nor is "not terminating" alone where the order is not known.
        """
        ordered = self._pods.are_ordered(address)
        for position, pod in enumerate(candidates):
            others = enumerate(candidates)
            if all(
                self._is_better(pod, other, later=position > place if ordered else None)
                for place, other in others
                if other is not pod
            ):
                return pod
        if not self._confirmations.api_is_down and any(self._confirmations.pod(pod) is None for pod in candidates):
            return ConfirmPods(tuple(candidates))
        return Unavailable(Reason.AMBIGUOUS)

    def _is_better(self, pod: Pod, other: Pod, *, later: bool | None) -> bool:
        (stays, ready), (other_stays, other_ready) = self._standing(pod), self._standing(other)
        if later is False or stays < other_stays or ready < other_ready:
            return False
        return ready > other_ready or (stays > other_stays and later is True)

    def _standing(self, pod: Pod) -> tuple[bool, bool]:
        node = self._nodes.get(pod.node)
        return pod.deletion is None, node is not None and node.ready

    def _unconfirmed(self, pod: Pod) -> Refused | Open | None:
        """What stands between a known pod and its role while the watches are silent; None if nothing."""
        if self._confirmations.pod(pod) is not None:
            return None
        if not self._confirmations.api_is_down:
            return ConfirmPods((pod,))
        return Refused(Reason.STALE, pod) if self._freshness.age() > self._max_stale else None

    def _binding_of(self, pod: Pod, address: Address, *, stale: bool) -> Binding | Unavailable | Open:
        """What the pod's ServiceAccount names, confirmed where the watch may be behind."""
        remembered = self._confirmations.account(namespace=pod.namespace, name=pod.service_account)
        if remembered is not None and remembered.answered:
            binding = None if remembered.found is None else self._accounts.bind(remembered.found)
        else:
            binding = self._accounts.get(namespace=pod.namespace, name=pod.service_account)
        # An annotation may have been set a moment ago; a silent watch may have missed anything.
        doubtful = stale or (binding is not None and binding.role is None and not binding.problem)
        if doubtful and remembered is None and not self._confirmations.api_is_down:
            return ConfirmAccount(pod.namespace, pod.service_account)
        if stale and remembered is not None and not remembered.answered and not self._confirmations.api_is_down:
            return Unavailable(Reason.UNCONFIRMED, pod)
        if binding is None:
            account = account_key(namespace=pod.namespace, name=pod.service_account)
            return Pending(Reason.UNKNOWN_SERVICE_ACCOUNT, (account, address_key(address)))
        return binding

    def _without_role(self, pod: Pod, binding: Binding) -> NoRole:
        if binding.problem:
            return NoRole(Reason.INVALID_ROLE, pod, binding.problem)
        return NoRole(Reason.NO_ANNOTATION, pod)
