"""Readiness: what keeps a replica from being ready, what does not, and that it stays so."""

import asyncio
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from iam4kube.credentials.progress import Progress
from iam4kube.server.readiness import Readiness

READY = Progress(known=7, waiting=0, sts_failing=False)


@dataclass
class ScriptedWatch:
    """A watch that is as its fields say."""

    synced: bool = True
    objects: int = 3
    seconds: float = 1.5
    problem: str = ""

    def age(self) -> float:
        return self.seconds

    @property
    def store(self) -> range:
        return range(self.objects)


@dataclass
class ScriptedRoles:
    """A prefetcher that has come as far as its fields say."""

    all: Progress = READY
    in_use: Progress = READY
    failing: int = 0
    closed: list[float] = field(default_factory=list)

    def close_first_round(self) -> None:
        self.closed.append(0.0)

    def progress(self, *, in_use_only: bool) -> Progress:
        return self.in_use if in_use_only else self.all


@dataclass
class Replica:
    """Readiness with all that it looks at."""

    in_use_only: bool = False

    def __post_init__(self) -> None:
        self.watches = {name: ScriptedWatch() for name in ("pods", "serviceaccounts", "nodes")}
        self.roles = ScriptedRoles()
        self.registry = CollectorRegistry()
        self.readiness = Readiness(
            watches=self.watches,
            roles=self.roles,
            failing=lambda: self.roles.failing,
            in_use_only=self.in_use_only,
            registry=self.registry,
        )


def test_a_replica_with_nothing_missing_is_ready() -> None:
    """Synced watches and no role left to try."""
    replica = Replica()
    report = replica.readiness.report()
    assert report.ready
    assert report.missing == ()
    assert replica.registry.get_sample_value("iam4kube_ready") == 1


@pytest.mark.parametrize("name", ["pods", "serviceaccounts", "nodes"])
def test_each_watch_has_to_be_synced(name: str) -> None:
    """The line names the watch, how far it has come, and why it does not get on."""
    replica = Replica()
    replica.watches[name] = ScriptedWatch(
        synced=False, objects=1200, seconds=float("inf"), problem="403: the ServiceAccount may not list them"
    )
    report = replica.readiness.report()
    assert not report.ready
    assert report.missing == (
        f"{name}: the first list is not complete, 1200 read so far; 403: the ServiceAccount may not list them",
    )
    assert report.watches[name].age_seconds is None


def test_each_role_has_to_be_tried() -> None:
    """The line says how many are left, of how many."""
    replica = Replica()
    replica.roles.all = Progress(known=800, waiting=14, sts_failing=False)
    report = replica.readiness.report()
    assert not report.ready
    assert report.missing == ("roles: 14 of 800 not tried yet",)


def test_a_replica_does_not_take_over_while_sts_is_down() -> None:
    """All roles tried three times in vain: without STS it would have no credentials to give."""
    replica = Replica()
    replica.roles.all = Progress(known=3, waiting=0, sts_failing=True)
    replica.roles.failing = 2
    report = replica.readiness.report()
    assert not report.ready
    [line] = report.missing
    assert line.startswith("STS: over half of the last minute's calls failed, and 2 of 3 roles have no credentials")
    replica.roles.all = Progress(known=3, waiting=0, sts_failing=False)
    assert replica.readiness.report().ready


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_r03_roles_that_never_succeed_are_not_an_outage(failing: int) -> None:
    """They are tried again and again, so that soon most calls fail; the other roles have their credentials."""
    replica = Replica()
    replica.roles.all = Progress(known=4, waiting=0, sts_failing=True)
    replica.roles.failing = failing
    assert replica.readiness.report().ready


def test_roles_are_counted_up_to_the_moment_of_the_sync() -> None:
    """The first round is closed once, when the last watch is synced, and not before."""
    replica = Replica()
    replica.watches["pods"].synced = False
    replica.readiness.report()
    assert replica.roles.closed == []
    replica.watches["pods"].synced = True
    replica.roles.all = Progress(known=3, waiting=1, sts_failing=False)
    for _ in range(3):
        assert not replica.readiness.report().ready
    assert len(replica.roles.closed) == 1


def test_in_use_counts_the_roles_of_running_pods_only() -> None:
    """Ten thousand idle ServiceAccounts do not hold a replica up then."""
    replica = Replica(in_use_only=True)
    replica.roles.all = Progress(known=10_000, waiting=9_990, sts_failing=False)
    replica.roles.in_use = Progress(known=10_000, waiting=0, sts_failing=False)
    report = replica.readiness.report()
    assert report.ready
    assert report.roles.counted == "in-use"


def test_ready_once_is_ready_for_good() -> None:
    """Neither lost watches nor STS take a replica out; what is missing is still told."""
    replica = Replica()
    assert replica.readiness.report().ready
    replica.watches["nodes"].synced = False
    replica.roles.all = Progress(known=9, waiting=9, sts_failing=True)
    replica.roles.failing = 9
    report = replica.readiness.report()
    assert report.ready
    assert len(report.missing) == 3
    assert replica.readiness.is_ready


@pytest.mark.looptime
async def test_readiness_is_noticed_without_any_probe() -> None:
    """The metric and the log line do not depend on somebody asking."""
    replica = Replica()
    replica.roles.all = Progress(known=2, waiting=1, sts_failing=False)
    looking = asyncio.create_task(replica.readiness.run())
    await asyncio.sleep(10)
    assert not replica.readiness.is_ready
    replica.roles.all = READY
    await asyncio.sleep(0.26)
    assert replica.readiness.is_ready
    looking.cancel()
    await asyncio.wait([looking])
