"""The router's own node over a real socket, in virtual time: its place, its events, and the taint that goes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from iam4kube.kube.client import KubeClient
from iam4kube.kube.events import EventRecorder
from iam4kube.kube.metrics import KubeMetrics
from iam4kube.kube.objects import Address
from iam4kube.sandbox.kubernetes import KubernetesApi
from iam4kube.sandbox.kubernetes.objects import node
from ip2service.node import NodeEvents, NodeReader
from ip2service.selection import Place
from ip2service.startup_taint import StartupTaint

pytestmark = pytest.mark.looptime

KEY = "ip2service.example/starting"
STARTING = [{"key": KEY, "effect": "NoSchedule"}, {"key": KEY, "value": "x", "effect": "NoExecute"}]
OTHER = {"key": "dedicated", "value": "x", "effect": "NoSchedule", "timeAdded": "2026-11-20T08:00:00Z"}


@asynccontextmanager
async def reading(client: KubeClient) -> AsyncIterator[list[Place]]:
    """Run a reader of node-a; gives what it told so far."""
    places: list[Place] = []
    reader = NodeReader(client, "node-a", changed=places.append, uniform=lambda low, high: (low + high) / 2)
    task = asyncio.create_task(reader.run())
    try:
        yield places
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Return once `holds`, which is asked 200 times in these virtual seconds. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # the other end of a socket makes it true
            await asyncio.sleep(seconds / 200)


def place(zone: str = "eu-central-1a", addresses: Sequence[str] = ("10.0.0.1",)) -> Place:
    """Where node-a is; no addresses are unknown ones."""
    return Place(node="node-a", zone=zone, addresses=frozenset(map(Address, addresses)) or None)


async def test_a_node_is_read_at_once_and_then_slowly(api: KubernetesApi, client: KubeClient) -> None:
    """A change is heard of within twelve minutes, and what has not changed is not told again."""
    api.create(node("node-a"))
    async with reading(client) as places:
        await until(lambda: places == [place()])
        api.patch("nodes", "node-a", {"metadata": {"labels": {"topology.kubernetes.io/zone": "eu-central-1b"}}})
        await until(lambda: places == [place(), place("eu-central-1b")], seconds=720)
        await until(lambda: api.count("get", "nodes") == 8, seconds=6 * 720)
    assert asyncio.get_running_loop().time() > 6 * 480
    assert len(places) == 2


async def test_a_failure_is_tried_again_with_a_growing_delay(
    api: KubernetesApi, client: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing permission is named in the log, and needs no restart once it is granted."""
    api.create(node("node-a"))
    fault = api.faults.forbid(verb="get", resource="nodes")
    async with reading(client) as places:
        await until(lambda: fault.hits >= 10, seconds=600)
        assert places == []
        assert asyncio.get_running_loop().time() > 100
        fault.lift()
        await until(lambda: places == [place()], seconds=120)
    assert 'cannot get resource "nodes"' in caplog.records[0].__dict__["error"]


async def test_a_node_that_is_not_there_is_told_from_one_that_is(
    api: KubernetesApi, client: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The name may be wrong: that is in the log. What was known before stays."""
    async with reading(client) as places:
        await until(lambda: bool(caplog.records))
        assert "--node-name" in caplog.records[0].__dict__["error"]
        api.create(node("node-a"))
        await until(lambda: places == [place()])
        api.delete("nodes", "node-a")
        await until(lambda: api.requests[-1].status == 404, seconds=720)
    assert places == [place()]


async def test_a_node_that_just_registered_is_read_again_soon(api: KubernetesApi, client: KubeClient) -> None:
    """Its addresses come a moment later, and until then they are not known: not "none"."""
    api.create(node("node-a", addresses=[], zone=None))
    async with reading(client) as places:
        await until(lambda: places == [place("", [])])
        described = node("node-a", addresses=["10.0.0.1", "fd00::a"])
        described["metadata"] = {"labels": described["metadata"]["labels"]}
        api.patch("nodes", "node-a", described)
        await until(lambda: places == [place("", []), place(addresses=["10.0.0.1", "fd00::a"])], seconds=10)


async def test_routing_is_told_on_the_node_when_it_changes(api: KubernetesApi, client: KubeClient) -> None:
    """Broken and mended, once each, where `kubectl describe node` finds it; nothing when all is well from the start."""
    recorder = EventRecorder(
        client,
        metrics=KubeMetrics(CollectorRegistry(), program="test"),
        now=lambda: datetime(2026, 11, 20, tzinfo=UTC),
        component="ip2service",
        instance="node-a",
    )
    events = NodeEvents(recorder, "node-a")
    task = asyncio.create_task(recorder.run())
    for problem in ("", "", "no Service", "no Service", "", ""):
        events.tell(problem)
    await until(lambda: len(api.list("events", namespace="default")) == 2)
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    told = api.list("events", namespace="default")
    assert sorted((event["type"], event["reason"], event["count"]) for event in told) == [
        ("Normal", "RoutingMended", 1),
        ("Warning", "RoutingBroken", 1),
    ]
    about = told[0]["involvedObject"]
    assert (about["kind"], about["name"], about["uid"], about["namespace"]) == ("Node", "node-a", "node-a", "")
    assert told[0]["source"] == {"component": "ip2service", "host": "node-a"}


def taints(api: KubernetesApi) -> list[dict[str, str]]:
    """Those of node-a now."""
    return list(api.get("nodes", "node-a")["spec"].get("taints", []))


def startup_taint(client: KubeClient) -> StartupTaint:
    """Of node-a."""
    return StartupTaint(client, node="node-a", key=KEY, uniform=lambda low, high: (low + high) / 2)


async def at_once() -> None:
    """The node is ready for pods."""


@pytest.mark.parametrize("others", [[], [OTHER]])
async def test_all_effects_of_the_taint_go_and_no_other_taint(
    api: KubernetesApi, client: KubeClient, others: list[dict[str, str]]
) -> None:
    """With all their fields, the others stay."""
    api.create(node("node-a", taints=[STARTING[0], *others, STARTING[1]]))
    await startup_taint(client).remove(at_once)
    assert taints(api) == others


async def test_nothing_is_written_without_the_taint(api: KubernetesApi, client: KubeClient) -> None:
    """Whoever started the node without it needs no permission to patch it."""
    api.create(node("node-a", taints=[OTHER]))
    await startup_taint(client).remove(at_once)
    assert (taints(api), api.count("patch", "nodes")) == ([OTHER], 0)


async def test_a_taint_that_comes_in_between_is_not_lost(api: KubernetesApi, client: KubeClient) -> None:
    """The write is refused, because the node is not the one that was read, and tried again with what is there."""
    api.create(node("node-a", taints=STARTING))
    delay = api.faults.delay(5, verb="patch", resource="nodes", times=1)
    task = asyncio.create_task(startup_taint(client).remove(at_once))
    await until(lambda: delay.hits == 1)
    api.patch("nodes", "node-a", {"spec": {"taints": [*STARTING, OTHER]}})
    await task
    assert (taints(api), api.count("patch", "nodes")) == ([OTHER], 2)


async def test_a_taint_is_removed_as_soon_as_the_api_server_lets_it(
    api: KubernetesApi, client: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing permission is named, and an outage waited for."""
    api.create(node("node-a", taints=STARTING))
    api.faults.refuse(503, verb="get", resource="nodes", times=2)
    fault = api.faults.forbid(verb="patch", resource="nodes")
    task = asyncio.create_task(startup_taint(client).remove(at_once))
    await until(lambda: fault.hits >= 8, seconds=300)
    assert taints(api) == STARTING
    assert any('cannot patch resource "nodes"' in record.error for record in caplog.records if hasattr(record, "error"))
    fault.lift()
    await task
    assert taints(api) == []


async def test_a_node_that_is_no_longer_ready_keeps_its_taint(api: KubernetesApi, client: KubeClient) -> None:
    """Though it was when the first try failed."""
    api.create(node("node-a", taints=STARTING))
    ready = asyncio.Event()
    ready.set()
    fault = api.faults.forbid(verb="patch", resource="nodes")
    task = asyncio.create_task(startup_taint(client).run(ready.wait))
    await until(lambda: fault.hits >= 3)
    ready.clear()
    fault.lift()
    await asyncio.sleep(300)
    assert taints(api) == STARTING
    ready.set()
    await until(lambda: taints(api) == [])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_node_that_registers_anew_loses_its_taint_again(api: KubernetesApi, client: KubeClient) -> None:
    """But only while it is ready for pods."""
    api.create(node("node-a", taints=STARTING))
    ready = asyncio.Event()
    task = asyncio.create_task(startup_taint(client).run(ready.wait))
    await asyncio.sleep(10)
    assert taints(api) == STARTING
    ready.set()
    await until(lambda: taints(api) == [])
    ready.clear()
    api.delete("nodes", "node-a")
    api.create(node("node-a", taints=STARTING))
    await asyncio.sleep(1200)
    assert taints(api) == STARTING
    ready.set()
    await until(lambda: taints(api) == [])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
