"""When a replica may take requests: its watches are synced, and the roles known at that moment have been tried.

While STS is down, three tries say nothing: a replica without credentials must not take over from one that has
some. STS is down when over half of the last minute's calls failed transiently, and over half of the roles lack
credentials because of that. Calls alone would not tell: roles that never succeed are tried again and again, and
a few of them would keep a small cluster's replicas unready for ever.

Ready once is ready for good: an outage of the API server or of STS must not take all replicas out of the
Service at the same moment. What makes a *running* replica worse is a matter of metrics and alerts.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sized
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry, Gauge

logger = logging.getLogger(__name__)

# How often readiness is looked at until it is reached: a kubelet's probe comes every second at most.
CHECK_PERIOD = 0.25


class Watch(Protocol):
    """One watch, as far as readiness cares."""

    @property
    def synced(self) -> bool:
        """Whether the first list is complete."""
        ...

    def age(self) -> float:
        """Seconds since it last said anything; infinite before the first list."""
        ...

    @property
    def problem(self) -> str:
        """Why it does not get on, for people; empty while it does."""
        ...

    @property
    def store(self) -> Sized:
        """The objects it knows."""
        ...


class RoleProgress(Protocol):
    """How far the first round of fetching has come."""

    @property
    def known(self) -> int:
        """All roles."""
        ...

    @property
    def waiting(self) -> int:
        """Those of the first round that have not been tried."""
        ...

    @property
    def sts_failing(self) -> bool:
        """Whether over half of all calls in the last minute failed transiently."""
        ...


class Roles(Protocol):
    """The prefetcher, as far as readiness cares."""

    def close_first_round(self) -> None:
        """Roles that become known later do not count for readiness."""
        ...

    def progress(self, *, in_use_only: bool) -> RoleProgress:
        """How far the roles that count have been tried."""
        ...


class WatchReport(msgspec.Struct, frozen=True):
    """One watch in numbers."""

    synced: bool
    objects: int
    age_seconds: float | None
    """None before the first list."""
    problem: str = ""


class RolesReport(msgspec.Struct, frozen=True):
    """The first round of fetching in numbers."""

    known: int
    not_tried: int
    sts_failing: bool
    counted: str
    """`all`, or `in-use`: which roles `not_tried` counts."""


class Report(msgspec.Struct, frozen=True):
    """What `/readyz` shows."""

    ready: bool
    missing: tuple[str, ...]
    """A line for each thing that is missing now. A replica that is ready stays so, whatever is missing later."""
    watches: dict[str, WatchReport]
    roles: RolesReport


class Readiness:
    """Owns whether the replica is ready. `watches` by the plural of what they watch."""

    def __init__(
        self,
        *,
        watches: Mapping[str, Watch],
        roles: Roles,
        failing: Callable[[], int],
        in_use_only: bool,
        registry: CollectorRegistry,
    ) -> None:
        """`failing` counts the roles that lack credentials because their last fetch failed transiently."""
        self._watches = watches
        self._roles = roles
        self._failing = failing
        self._in_use_only = in_use_only
        self._synced = False
        self._ready = False
        Gauge("iam4kube_ready", "1 once the replica has been ready; it stays so.", registry=registry).set_function(
            lambda: self._ready
        )

    @property
    def is_ready(self) -> bool:
        """Whether the replica has ever been ready."""
        return self._ready

    async def run(self) -> None:
        """Look until the replica is ready, say so in the log, and rest."""
        started = asyncio.get_running_loop().time()
        while not self.report().ready:  # noqa: ASYNC110  # what it depends on changes in many places
            await asyncio.sleep(CHECK_PERIOD)
        seconds = round(asyncio.get_running_loop().time() - started, 3)
        logger.info("Ready", extra={"seconds": seconds, "roles": self._roles.progress(in_use_only=False).known})
        await asyncio.get_running_loop().create_future()

    def report(self) -> Report:
        """What there is and what is missing, in numbers. Looking at it is what makes the replica ready."""
        watches = {name: _report(watch) for name, watch in self._watches.items()}
        if not self._synced and all(watch.synced for watch in watches.values()):
            self._synced = True
            self._roles.close_first_round()
        progress = self._roles.progress(in_use_only=self._in_use_only)
        missing = (*_missing_watches(watches), *_missing_roles(progress, failing=self._failing()))
        self._ready = self._ready or not missing
        counted = "in-use" if self._in_use_only else "all"
        return Report(
            ready=self._ready,
            missing=missing,
            watches=watches,
            roles=RolesReport(progress.known, progress.waiting, progress.sts_failing, counted),
        )


def _report(watch: Watch) -> WatchReport:
    age = watch.age()
    return WatchReport(watch.synced, len(watch.store), None if age == float("inf") else round(age, 3), watch.problem)


def _missing_watches(watches: Mapping[str, WatchReport]) -> list[str]:
    return [
        f"{name}: the first list is not complete, {watch.objects} read so far"
        + (watch.problem and f"; {watch.problem}")
        for name, watch in watches.items()
        if not watch.synced
    ]


def _missing_roles(progress: RoleProgress, *, failing: int) -> list[str]:
    missing = []
    if progress.waiting:
        missing.append(f"roles: {progress.waiting} of {progress.known} not tried yet")
    if progress.sts_failing and 2 * failing > progress.known:
        missing.append(
            f"STS: over half of the last minute's calls failed, and {failing} of {progress.known} roles have no "
            "credentials because of that; see the log and iam4kube_sts_calls_total"
        )
    return missing
