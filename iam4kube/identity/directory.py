"""The tables, the chain and the confirmations as one: what the watches feed and the metadata API asks."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Gauge

from iam4kube.identity.accounts import AccountTable, RoleSink
from iam4kube.identity.chain import Chain
from iam4kube.identity.confirmations import Confirmations, FairLimiter, Reader
from iam4kube.identity.nodes import NodeTable
from iam4kube.identity.outcomes import SYNC_KEY
from iam4kube.identity.pods import PodTable
from iam4kube.kube.objects import Node, Pod, ServiceAccount
from iam4kube.runtime.clock import Now
from iam4kube.runtime.waits import Waits

Watched = TypeVar("Watched")


class Watches(Protocol):
    """The three watches, as far as identity cares."""

    def age(self) -> float:
        """Seconds since the quietest of them last said anything; infinite before the first list."""
        ...

    def is_listing_pods(self) -> bool:
        """Whether pods come from a list now: in no order, and the vanished last."""
        ...


class Feed(Generic[Watched]):
    """A watch's handler: takes changes in synchronously, in the order in which they come."""

    def __init__(
        self, *, changed: Callable[[Watched | None, Watched | None], None], synced: Callable[[], None]
    ) -> None:
        self.changed = changed
        self.synced = synced


class Directory:
    """Owns all that is known of pods, ServiceAccounts and nodes."""

    def __init__(
        self,
        *,
        waits: Waits,
        sink: RoleSink,
        reader: Reader,
        watches: Watches,
        account_limiter: FairLimiter,
        now: Now,
        max_stale: float,
        registry: CollectorRegistry,
    ) -> None:
        self._waits = waits
        self._watches = watches
        self._unsynced = {"pods", "serviceaccounts", "nodes"}
        self.nodes = NodeTable(waits)
        self.pods = PodTable(
            waits=waits, nodes=self.nodes, count=self._pods_counted, in_order=lambda: not watches.is_listing_pods()
        )
        self.accounts = AccountTable(waits=waits, sink=sink, users=self._users)
        self.confirmations = Confirmations(reader=reader, account_limiter=account_limiter, registry=registry)
        self.chain = Chain(
            nodes=self.nodes,
            pods=self.pods,
            accounts=self.accounts,
            confirmations=self.confirmations,
            freshness=self,
            now=now,
            max_stale=max_stale,
        )
        self.pod_feed: Feed[Pod] = Feed(changed=self._pod_changed, synced=lambda: self._synced("pods"))
        self.account_feed: Feed[ServiceAccount] = Feed(
            changed=self._account_changed, synced=lambda: self._synced("serviceaccounts")
        )
        self.node_feed: Feed[Node] = Feed(changed=self.nodes.changed, synced=lambda: self._synced("nodes"))
        self._expose(registry)

    @property
    def synced(self) -> bool:
        """Whether every watch has delivered its first list. Before that, nobody is told apart from anybody."""
        return not self._unsynced

    def age(self) -> float:
        """Seconds since the quietest watch last said anything."""
        return self._watches.age()

    def _synced(self, kind: str) -> None:
        self._unsynced.discard(kind)
        if not self._unsynced:
            self._waits.wake(SYNC_KEY)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is not None:
                self.confirmations.pod_changed(pod)
        self.pods.changed(old, new)

    def _account_changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        for account in (old, new):
            if account is not None:
                self.confirmations.account_changed(account)
        self.accounts.changed(old, new)

    def _pods_counted(self, namespace: str, name: str, pods: int) -> None:
        self.accounts.pods_changed(namespace, name, pods)

    def _users(self, namespace: str, name: str) -> int:
        return self.pods.users(namespace=namespace, service_account=name)

    def _expose(self, registry: CollectorRegistry) -> None:
        sizes: tuple[tuple[str, str, Callable[[], int]], ...] = (
            ("iam4kube_identity_service_accounts", "ServiceAccounts known", lambda: len(self.accounts)),
            ("iam4kube_identity_nodes", "Nodes known", lambda: len(self.nodes)),
            ("iam4kube_identity_addresses", "Addresses that unfinished pods claim", lambda: len(self.pods)),
            ("iam4kube_identity_waits", "Requests that wait for a change now", lambda: len(self._waits)),
        )
        for name, text, size in sizes:
            Gauge(name, text, registry=registry).set_function(size)
