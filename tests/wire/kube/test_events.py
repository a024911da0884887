"""Events over a real socket, in virtual time: what a user sees, and what the API server is spared."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from iam4kube.kube.client import KubeClient
from iam4kube.kube.decoding import decode_pod
from iam4kube.kube.events import QUEUE_LIMIT, EventRecorder
from iam4kube.kube.metrics import KubeMetrics
from iam4kube.kube.objects import Pod
from iam4kube.sandbox.kubernetes import KubernetesApi
from iam4kube.sandbox.kubernetes.objects import pod
from tests.support.kube_objects import encoded

pytestmark = pytest.mark.looptime


class Recording:
    """A recorder that runs, a pod to speak of, and what the API server has."""

    def __init__(self, api: KubernetesApi, recorder: EventRecorder, registry: CollectorRegistry, web: Pod) -> None:
        self._api = api
        self._recorder = recorder
        self._registry = registry
        self._web = web

    def say(self, message: str, *, pod_name: str = "web") -> None:
        regarding = msgspec.structs.replace(self._web, name=pod_name)
        self._recorder.record(regarding, kind="Warning", reason="NoRole", message=message)

    def count(self, outcome: str) -> float:
        return self._registry.get_sample_value("test_events_total", {"outcome": outcome}) or 0

    @property
    def events(self) -> list[dict[str, Any]]:
        return self._api.list("events", namespace="shop")


@asynccontextmanager
async def recording(api: KubernetesApi, client: KubeClient) -> AsyncIterator[Recording]:
    """Run a recorder; its wall time runs with the loop's clock."""
    loop, epoch, registry = asyncio.get_running_loop(), datetime(2026, 11, 20, tzinfo=UTC), CollectorRegistry()
    recorder = EventRecorder(
        client,
        metrics=KubeMetrics(registry, program="test"),
        now=lambda: epoch + timedelta(seconds=loop.time()),
        instance="replica-1",
    )
    web = decode_pod(encoded(api.create(pod("web", namespace="shop", addresses=["10.1.0.1"]))))
    task = asyncio.create_task(recorder.run())
    try:
        yield Recording(api, recorder, registry, web)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_event_is_on_the_pod(api: KubernetesApi, client: KubeClient) -> None:
    """It names the pod with its UID, the reason, the message, the times and who speaks."""
    async with recording(api, client) as recording_:
        recording_.say("annotate the ServiceAccount")
        await asyncio.sleep(1)
        (event,) = recording_.events
    about = event["involvedObject"]
    assert (about["kind"], about["namespace"], about["name"]) == ("Pod", "shop", "web")
    assert about["uid"] == api.get("pods", "web", namespace="shop")["metadata"]["uid"]
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "NoRole", "annotate the ServiceAccount")
    assert (event["count"], event["firstTimestamp"]) == (1, "2026-11-20T00:00:00Z")
    assert event["source"] == {"component": "iam4kube", "host": "replica-1"}
    assert event["metadata"]["name"].startswith("web.")


async def test_the_same_again_is_counted_on_one_event(api: KubernetesApi, client: KubeClient) -> None:
    """A repetition raises the count and the last time of the event that is there."""
    async with recording(api, client) as recording_:
        for _ in range(3):
            recording_.say("annotate the ServiceAccount")
            await asyncio.sleep(10)
        (event,) = recording_.events
    assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (
        3,
        "2026-11-20T00:00:00Z",
        "2026-11-20T00:00:20Z",
    )
    assert (api.count("create", "events"), api.count("patch", "events")) == (1, 2)


async def test_an_event_that_expired_is_created_anew(api: KubernetesApi, client: KubeClient) -> None:
    """The API server forgets events after an hour; the next repetition makes a new one with the whole count."""
    async with recording(api, client) as recording_:
        recording_.say("annotate the ServiceAccount")
        await asyncio.sleep(1)
        api.delete("events", recording_.events[0]["metadata"]["name"], namespace="shop")
        recording_.say("annotate the ServiceAccount")
        await asyncio.sleep(1)
        (event,) = recording_.events
    assert event["count"] == 2


async def test_a_failing_server_is_tried_again(api: KubernetesApi, client: KubeClient) -> None:
    """An event recorded while the API server is away arrives when it is back, with the time when it happened."""
    async with recording(api, client) as recording_:
        await api.stop()
        recording_.say("annotate the ServiceAccount")
        await asyncio.sleep(25)
        await api.start()
        await asyncio.sleep(15)
        (event,) = recording_.events
        assert recording_.count("sent") == 1
    assert event["firstTimestamp"] == "2026-11-20T00:00:00Z"


async def test_an_event_is_given_up_in_the_end(api: KubernetesApi, client: KubeClient) -> None:
    """After twelve tries, about two minutes, the next event gets its turn."""
    async with recording(api, client) as recording_:
        await api.stop()
        recording_.say("annotate the ServiceAccount")
        await asyncio.sleep(140)
        assert recording_.count("failed") == 1
        await api.start()
        recording_.say("something else")
        await asyncio.sleep(1)
        assert [event["message"] for event in recording_.events] == ["something else"]


async def test_a_refused_event_is_not_tried_again(
    api: KubernetesApi, client: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing permission is one warning that names it, not one for each event."""
    api.faults.forbid(verb="create", resource="events")
    async with recording(api, client) as recording_:
        for number in range(5):
            recording_.say(f"message {number}")
        await asyncio.sleep(60)
        assert recording_.count("refused") == 5
    assert api.count("create", "events") == 5
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "create and patch on events" in warning.getMessage()


async def test_a_namespace_on_its_way_out_is_nothing_to_warn_of(
    api: KubernetesApi, client: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Its refusal is counted, and that is all."""
    api.faults.refuse(403, verb="create", message="unable to create: namespace shop is being terminated")
    async with recording(api, client) as recording_:
        recording_.say("annotate the ServiceAccount")
        await asyncio.sleep(1)
        assert recording_.count("refused") == 1
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


async def test_recording_never_waits(api: KubernetesApi, client: KubeClient) -> None:
    """With a server that hangs the queue takes 1,000, and what is beyond that is dropped and counted."""
    api.faults.hang(verb="create")
    async with recording(api, client) as recording_:
        for number in range(QUEUE_LIMIT + 50):
            recording_.say(f"message {number}")
        assert recording_.count("dropped") == 50


async def test_a_chatty_object_is_held_back(api: KubernetesApi, client: KubeClient) -> None:
    """One object causes 25 requests in a burst, then one every five minutes, with the full count."""
    async with recording(api, client) as recording_:
        for _ in range(40):
            recording_.say("annotate the ServiceAccount")
        await asyncio.sleep(10)
        assert api.count("create", "events") + api.count("patch", "events") == 25
        assert recording_.count("counted") == 15
        await asyncio.sleep(300)
        recording_.say("annotate the ServiceAccount")
        await asyncio.sleep(1)
        (event,) = recording_.events
    assert event["count"] == 41


async def test_a_passing_refusal_is_an_answer(api: KubernetesApi, client: KubeClient) -> None:
    """An event that exists already (its first answer was lost) is not an error that anybody hears of."""
    api.faults.refuse(409, verb="create", times=1)
    async with recording(api, client) as recording_:
        recording_.say("annotate the ServiceAccount")
        await asyncio.sleep(1)
        assert recording_.count("refused") == 1


async def test_a_throttled_event_holds_up_no_other(api: KubernetesApi, client: KubeClient) -> None:
    """A namespace that the API server throttles loses its event; the next one's is sent at once."""
    api.faults.refuse(429, verb="create", times=1, retry_after=20)
    async with recording(api, client) as recording_:
        recording_.say("annotate the ServiceAccount")
        recording_.say("annotate the ServiceAccount", pod_name="another")
        await asyncio.sleep(1)
        assert (recording_.count("failed"), recording_.count("sent")) == (1, 1)


async def test_events_leave_at_a_bounded_rate(api: KubernetesApi, client: KubeClient) -> None:
    """A restarted replica that tells a thousand pods again asks the API server at most 25 times a second."""
    async with recording(api, client) as recording_:
        for number in range(1000):
            recording_.say("hello", pod_name=f"pod-{number}")
        await asyncio.sleep(10)
        assert 200 <= api.count("create", "events") <= 251
