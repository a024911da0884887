"""One replica: every part, made in the order in which they need each other, and connected.

    watches --> directory --> chain --> lookup --> metadata API
                    |                     |
                    +--> prefetcher ------+--> events on pods

Nothing here decides anything. What runs is started by `Replica.start`, and ended by its stop steps.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry

from iam4kube.admin.application import admin_application, debug_application
from iam4kube.credentials.entry import State
from iam4kube.credentials.pace import Pace
from iam4kube.credentials.prefetcher import Prefetcher
from iam4kube.credentials.values import CredentialSource
from iam4kube.identity.directory import Directory
from iam4kube.kube.client import KubeClient
from iam4kube.kube.events import EventRecorder
from iam4kube.kube.metrics import KubeMetrics
from iam4kube.kube.objects import Address
from iam4kube.metadata.keyring import Keyring
from iam4kube.metadata.lookup import Answer, Lookup
from iam4kube.runtime.clock import Now
from iam4kube.runtime.lifecycle import StopStep
from iam4kube.runtime.limits import KeyedBuckets
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.metrics import LoopLag
from iam4kube.runtime.tasks import Supervisor
from iam4kube.runtime.waits import Waits
from iam4kube.server.debug import DebugState
from iam4kube.server.events import PodEvents
from iam4kube.server.metadata_api import MetadataApi
from iam4kube.server.operators import operators_listener
from iam4kube.server.own_role import CallerSource, OwnRole, OwnRoleFirst
from iam4kube.server.readiness import Readiness
from iam4kube.server.refusals import RefusalLog
from iam4kube.server.settings import ServerSettings
from iam4kube.server.shutdown import Drain, stop_steps
from iam4kube.server.watches import LiveReader, Watches

# Live reads of ServiceAccounts without a role, by namespace: each account is read at most every 5 s, so this is
# room for ten accounts of a namespace that ask all the time, and for a deployment of ten at once.
_ACCOUNT_READS_PER_SECOND = 2.0
_ACCOUNT_READS_AT_ONCE = 10.0


class AwsSource(CredentialSource, CallerSource, Protocol):
    """AWS, as far as a replica needs it."""


class Replica:
    """One replica, assembled. Make it on the event loop that it is to run on. Starts nothing by itself."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        client: KubeClient,
        source: AwsSource,
        pace: Pace,
        keyring: Keyring,
        now: Now,
        registry: CollectorRegistry,
        name: str = "",
    ) -> None:
        """`pace` limits all calls of `source`. `name` tells users which replica speaks, in events."""
        self._settings = settings
        self._client = client
        self._lag = LoopLag(registry, program="iam4kube")
        self._drain = Drain(registry)
        self.waits = Waits()
        kube_metrics = KubeMetrics(registry, program="iam4kube")
        self._recorder = EventRecorder(client, metrics=kube_metrics, now=now, instance=name)
        self._events = PodEvents(self._recorder)
        self._refusals = RefusalLog()
        own_role_known = asyncio.Event()
        self._prefetcher = Prefetcher(
            source=OwnRoleFirst(source, known=own_role_known),
            waits=self.waits,
            registry=registry,
            chance=random.Random(),  # noqa: S311  # spreads refreshes; nobody gains by guessing them
            pace=pace,
        )
        self._watches = Watches(client, kube_metrics)
        self._directory = Directory(
            waits=self.waits,
            sink=self._prefetcher,
            reader=LiveReader(client),
            watches=self._watches,
            account_limiter=KeyedBuckets(rate=_ACCOUNT_READS_PER_SECOND, burst=_ACCOUNT_READS_AT_ONCE),
            now=now,
            max_stale=settings.kubernetes.max_stale,
            registry=registry,
        )
        self._watches.connect(self._directory, pods_too=self._events.pod_changed)
        self._own_role = OwnRole(
            source,
            assumed=settings.credentials.assume_role_arn,
            use=self._directory.accounts.set_policy,
            known=own_role_known,
        )
        lookup = Lookup(
            identities=self._directory.chain,
            confirmations=self._directory.confirmations,
            credentials=self._prefetcher,
            waits=self.waits,
            observer=self._answered,
        )
        self.metadata = MetadataApi(settings.metadata, keyring=keyring, lookups=lookup, now=now, registry=registry)
        self.readiness = Readiness(
            watches=self._watches.reflectors,
            roles=self._prefetcher,
            failing=lambda: self._prefetcher.statistics().states[State.FAILING],
            in_use_only=settings.operators.ready_when == "in-use",
            registry=registry,
        )
        self.admin = self._admin_listener(registry)
        self.debug = self._debug_listener()

    def bind(self) -> None:
        """Take all addresses. Raises `SettingsError`."""
        for listener in self._listeners:
            listener.bind()

    async def start(self, tasks: Supervisor) -> None:
        """Start everything. The listeners last: what they serve waits for what it needs."""
        tasks.start("event loop lag", self._lag.run())
        tasks.start("Kubernetes configuration", self._client.run())
        tasks.start("live reads", self._directory.confirmations.run())
        tasks.start("events", self._recorder.run())
        tasks.start("credentials", self._prefetcher.run())
        tasks.start("own role", self._own_role.run())
        tasks.start("readiness", self.readiness.run())
        self._watches.start(tasks)
        self.metadata.start(tasks)
        for listener in self._listeners:
            await listener.start()

    def stop_steps(self) -> list[StopStep]:
        """The ordered stop."""
        return stop_steps(
            drain=self._drain,
            drain_time=self._settings.operators.drain_time,
            request_deadline=self._settings.metadata.request_deadline,
            metadata=self.metadata.listener,
            operators=(self.debug, self.admin),
            waits=self.waits,
        )

    def _answered(self, address: Address, answer: Answer) -> None:
        """Every answer of the metadata API passes here, on its warm path."""
        self._events.answered(address, answer)
        self._refusals.answered(address, answer)

    @property
    def synced(self) -> bool:
        """Whether every watch has delivered its first list: the tables are as large as they get."""
        return self._directory.synced

    @property
    def _listeners(self) -> Sequence[Listener]:
        return (self.admin, self.debug, self.metadata.listener)

    def _admin_listener(self, registry: CollectorRegistry) -> Listener:
        application = admin_application(
            readiness=self.readiness.report, is_draining=lambda: self._drain.under_way, registry=registry
        )
        address = self._settings.operators.admin_listen
        return operators_listener(application, address, name="admin", setting="--admin-listen")

    def _debug_listener(self) -> Listener:
        state = DebugState(
            readiness=self.readiness,
            directory=self._directory,
            prefetcher=self._prefetcher,
            metadata=self.metadata,
            waits=self.waits,
            drain=self._drain,
        )
        address = self._settings.operators.debug_listen
        application = debug_application(state=state.show)
        return operators_listener(application, address, name="debug", setting="--debug-listen")
