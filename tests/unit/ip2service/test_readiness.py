"""When the router is ready, what it says is missing, and what it tells of it."""

import asyncio
from dataclasses import dataclass, field

import pytest

from ip2service.readiness import CONTESTED, LOOK_PERIOD, Readiness
from ip2service.reconciler import Status

pytestmark = pytest.mark.looptime


@dataclass
class Watch:
    """One of the two watches."""

    synced: bool = True
    problem: str = ""


@dataclass
class Node:
    """What readiness looks at, and what it tells."""

    status: Status = field(default_factory=lambda: Status(verified_at=asyncio.get_running_loop().time(), granted=True))
    services: Watch = field(default_factory=Watch)
    bypass: str = ""
    service_problem: str = ""
    told: list[str] = field(default_factory=list)

    def readiness(self) -> Readiness:
        return Readiness(
            routing=self.status,
            verify_interval=30.0,
            watches={"services": self.services, "endpointslices": Watch()},
            service_problem=lambda: self.service_problem,
            bypass=lambda: self.bypass,
            tell=self.told.append,
        )


async def test_verified_rules_and_synced_watches_make_it_ready() -> None:
    """And nothing else."""
    assert Node().readiness().missing() == []


async def test_nothing_is_verified_before_the_first_time() -> None:
    """At start."""
    assert Node(status=Status(granted=True)).readiness().missing() == ["rules: not verified for over 90 s"]


async def test_rules_that_could_not_be_verified_for_three_intervals_are_unknown() -> None:
    """Twice may be missed."""
    readiness = Node().readiness()
    await asyncio.sleep(90)
    assert readiness.missing() == []
    await asyncio.sleep(1)
    assert readiness.missing() == ["rules: not verified for over 90 s"]


async def test_a_problem_of_the_rules_is_said_in_its_words() -> None:
    """At once, not after three intervals."""
    node = Node()
    node.status.problem = "Operation not permitted"
    assert node.readiness().missing() == ["rules: Operation not permitted"]


async def test_rules_that_somebody_undoes_again_and_again_are_not_right() -> None:
    """Half of the time they are the other's. Once changed and repaired they are."""
    node = Node()
    node.status.drifts_in_a_row = CONTESTED - 1
    assert node.readiness().is_ready
    node.status.drifts_in_a_row = CONTESTED
    [line] = node.readiness().missing()
    assert line.startswith("rules: found changed 5 times in a row: another program undoes what is repaired")
    assert "a second router on this node" in line


async def test_a_watch_that_is_not_synced_is_said_with_its_problem() -> None:
    """Until then the maps are those of an earlier process, or empty."""
    node = Node(services=Watch(synced=False, problem="list services: 403 Forbidden"))
    assert node.readiness().missing() == [
        "services: the first list is not complete; list services: 403 Forbidden",
    ]


async def test_what_the_watches_have_found_has_to_be_in_the_kernel_once() -> None:
    """Pods that a removed startup taint lets in find a server at once."""
    node = Node(services=Watch(synced=False))
    node.status.granted = False
    assert node.readiness().missing() == ["services: the first list is not complete"]
    node.services.synced = True
    assert node.readiness().missing() == ["rules: what the first lists say is not in the kernel yet"]
    node.status.granted = True
    assert node.readiness().is_ready


async def test_an_api_server_that_is_down_makes_nothing_unready() -> None:
    """Once synced."""
    assert Node(services=Watch(problem="watch services: connection refused")).readiness().is_ready


async def test_a_problem_of_the_service_is_told_and_no_reason_to_be_unready() -> None:
    """The rules do what they should."""
    node = Node(service_problem="Service iam4kube/iam4kube does not exist")
    readiness = node.readiness()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(readiness.run())
        await asyncio.wait_for(readiness.until_ready(), 1)
        task.cancel()
    assert node.told[0] == "Service iam4kube/iam4kube does not exist"


async def test_a_bypass_keeps_the_startup_taint() -> None:
    """`until_ready` is what its removal waits for."""
    node = Node(bypass="bypass: the link cilium_host")
    readiness = node.readiness()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(readiness.run())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(readiness.until_ready(), 60)
        node.bypass = ""
        await asyncio.sleep(LOOK_PERIOD)
        await asyncio.wait_for(readiness.until_ready(), 1)
        task.cancel()
    assert (node.told[0], node.told[-1]) == ("bypass: the link cilium_host", "")


async def test_a_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """However long it lasts; at start it is no warning."""
    node = Node(services=Watch(synced=False))
    caplog.set_level("INFO")
    task = asyncio.create_task(node.readiness().run())
    await asyncio.sleep(10)
    node.services.synced = True
    await asyncio.sleep(10)
    node.bypass = "bypass: x"
    await asyncio.sleep(10)
    task.cancel()
    await asyncio.wait([task])
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "Not ready"),
        ("INFO", "Ready"),
        ("WARNING", "Not ready"),
    ]
