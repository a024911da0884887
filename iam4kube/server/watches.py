"""The three watches that identity lives on, and the live reads that settle what they cannot."""

import asyncio
from collections.abc import Callable
from math import inf
from operator import attrgetter

from iam4kube.identity.confirmations import READ_TIMEOUT
from iam4kube.identity.directory import Directory
from iam4kube.kube.client import KubeClient
from iam4kube.kube.metrics import KubeMetrics
from iam4kube.kube.objects import Node, Pod, ServiceAccount
from iam4kube.kube.reflector import Reflector
from iam4kube.kube.resources import NODES, PODS, SERVICE_ACCOUNTS
from iam4kube.runtime.tasks import Supervisor

_HEARD_AT = attrgetter("heard_at")

PodListener = Callable[[Pod | None, Pod | None], None]


class Watches:
    """Owns the watches of Pods, ServiceAccounts and Nodes. `connect` says whom they feed."""

    def __init__(self, client: KubeClient, metrics: KubeMetrics) -> None:
        self._client = client
        self._metrics = metrics
        self._pods: Reflector[Pod] | None = None
        self.reflectors: dict[str, Reflector[Pod] | Reflector[ServiceAccount] | Reflector[Node]] = {}
        """By the plural of what they watch; empty before `connect`."""

    def connect(self, directory: Directory, *, pods_too: PodListener) -> None:
        """Feed the directory, and `pods_too` with the same changes of pods after it."""
        self._pods = Reflector(self._client, PODS, _PodFeed(directory, pods_too), metrics=self._metrics)
        accounts = Reflector(self._client, SERVICE_ACCOUNTS, directory.account_feed, metrics=self._metrics)
        nodes = Reflector(self._client, NODES, directory.node_feed, metrics=self._metrics)
        self.reflectors = {each.resource.plural: each for each in (self._pods, accounts, nodes)}

    def age(self) -> float:
        """Seconds since the quietest of them last said anything; infinite before the first list."""
        heard_at = min(map(_HEARD_AT, self.reflectors.values()), default=-inf)  # asked with every request: 0.5 µs
        return asyncio.get_running_loop().time() - heard_at

    def is_listing_pods(self) -> bool:
        """Whether pods come from a list now: in no order, and the vanished last."""
        return self._pods is not None and self._pods.listing

    def start(self, tasks: Supervisor) -> None:
        """Begin to list and watch."""
        for name, reflector in self.reflectors.items():
            tasks.start(f"watch {name}", reflector.run())


class _PodFeed:
    """Handler of the Pods watch: the directory first, since whoever hears it next may ask it."""

    def __init__(self, directory: Directory, also: PodListener) -> None:
        self._directory = directory
        self._also = also

    def changed(self, old: Pod | None, new: Pod | None, /) -> None:
        self._directory.pod_feed.changed(old, new)
        self._also(old, new)

    def synced(self) -> None:
        self._directory.pod_feed.synced()


class LiveReader:
    """Reads single objects for the confirmations."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def pod(self, *, namespace: str, name: str) -> Pod | None:
        """The pod as it stands; None where there is none. Raises `KubeError`."""
        return await self._client.get(PODS, namespace=namespace, name=name, timeout=READ_TIMEOUT)

    async def service_account(self, *, namespace: str, name: str) -> ServiceAccount | None:
        """The ServiceAccount as it stands; None where there is none. Raises `KubeError`."""
        return await self._client.get(SERVICE_ACCOUNTS, namespace=namespace, name=name, timeout=READ_TIMEOUT)
