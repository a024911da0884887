"""Events: what `kubectl describe` shows of an object's owner's business, sent in the background.

Whoever records one never waits and never hears of a failure: the queue is bounded, what does not fit is
dropped and counted. As in client-go, only what has not reached the API server is tried again: one namespace that
it throttles must not hold up everybody's events.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime
from typing import Final, Never
from urllib.parse import quote

from iam4kube.kube.client import STRATEGIC_MERGE_PATCH, KubeClient, Response
from iam4kube.kube.correlation import Correlator, EventRecord, EventType, ObjectReference, Occurrence, event_name
from iam4kube.kube.errors import KubeError, KubeRefused, KubeUnreachable
from iam4kube.kube.metrics import KubeMetrics
from iam4kube.kube.objects import Pod
from iam4kube.runtime.clock import Now

_log = logging.getLogger(__name__)

# client-go, tools/record/event.go
QUEUE_LIMIT: Final = 1000
TRIES: Final = 12
PAUSE: Final = 10.0
"""Seconds between two tries; the first pause is drawn from 0 to this, so that replicas come back apart."""
# A restarted replica tells every pod again. The API server gets at most this from it, whatever happens.
REQUESTS_PER_SECOND: Final = 25.0
_REQUEST_TIMEOUT = 10.0  # seconds


class EventRecorder:
    """Owns the queue of occurrences and what was sent. `run` sends."""

    def __init__(
        self,
        client: KubeClient,
        *,
        metrics: KubeMetrics,
        now: Now,
        component: str = "iam4kube",
        instance: str = "",
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`component` and `instance` (a replica's name) tell users who speaks."""
        self._client = client
        self._outcomes = metrics.events
        self._now = now
        self._component = component
        self._instance = instance
        self._uniform = uniform
        self._queue: asyncio.Queue[Occurrence] = asyncio.Queue(QUEUE_LIMIT)
        self._correlator = Correlator(asyncio.get_running_loop().time)
        self._refused_before = False

    def record(self, pod: Pod, *, kind: EventType, reason: str, message: str) -> None:
        """Queue an event about a pod, or drop and count it. Never blocks, never raises."""
        regarding = ObjectReference(kind="Pod", namespace=pod.namespace, name=pod.name, uid=pod.uid)
        self.record_about(regarding, kind=kind, reason=reason, message=message)

    def record_about(self, regarding: ObjectReference, *, kind: EventType, reason: str, message: str) -> None:
        """The same about any object. `reason` is one UpperCamelCase word, `message` a sentence with the remedy."""
        occurrence = Occurrence(regarding=regarding, type=kind, reason=reason, message=message, at=self._now())
        try:
            self._queue.put_nowait(occurrence)
        except asyncio.QueueFull:
            self._outcomes.labels("dropped").inc()

    async def run(self) -> Never:
        """Send what is queued, in its order, at a bounded rate."""
        while True:
            record = self._correlator.correlate(await self._queue.get())
            if record is None:
                self._outcomes.labels("counted").inc()
                continue
            self._outcomes.labels(await self._deliver(record)).inc()
            await asyncio.sleep(1 / REQUESTS_PER_SECOND)

    async def _deliver(self, record: EventRecord) -> str:
        """Try until it is sent, refused, or tried often enough; returns which."""
        for attempt in range(TRIES):
            try:
                await self._send(record)
            except KubeError as error:
                if not isinstance(error, KubeUnreachable):
                    return self._note_refusal(error)
                _log.debug("Event not sent yet", extra={"event": record.name, "error": str(error)})
                pause = self._uniform(0, PAUSE) if attempt == 0 else PAUSE
                await asyncio.sleep(max(pause, error.retry_after))
            else:
                self._refused_before = False
                return "sent"
        _log.warning("Event given up: the API server does not take it", extra={"event": record.name})
        return "failed"

    async def _send(self, record: EventRecord) -> None:
        if record.count > 1:
            response = await self._patch(record)
            if response.status != 404:
                response.checked()
                return
            record.name = event_name(record.first.regarding)  # the old one has expired: events live for an hour
        (await self._create(record)).checked()

    async def _create(self, record: EventRecord) -> Response:
        regarding = record.first.regarding
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": record.name, "namespace": _namespace(record)},
            "involvedObject": {
                "apiVersion": regarding.api_version,
                "kind": regarding.kind,
                "namespace": regarding.namespace,
                "name": regarding.name,
                "uid": regarding.uid,
            },
            "type": record.first.type,
            "reason": record.first.reason,
            "message": record.message,
            "count": record.count,
            "firstTimestamp": _timestamp(record.first.at),
            "lastTimestamp": _timestamp(record.last_at),
            "source": {"component": self._component, "host": self._instance},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }
        return await self._client.request("POST", _path(record), body=body, timeout=_REQUEST_TIMEOUT)

    async def _patch(self, record: EventRecord) -> Response:
        changes = {"count": record.count, "lastTimestamp": _timestamp(record.last_at), "message": record.message}
        return await self._client.request(
            "PATCH",
            f"{_path(record)}/{quote(record.name)}",
            body=changes,
            content_type=STRATEGIC_MERGE_PATCH,
            timeout=_REQUEST_TIMEOUT,
        )

    def _note_refusal(self, error: KubeError) -> str:
        """Warn of the first of a row of refusals: a missing permission would fill the log with each event.

        That a namespace is on its way out or gone, or that the event exists, is nothing to warn of.
        """
        if error.passes:
            _log.debug("Event not taken", extra={"error": str(error)})
            return "failed"
        if isinstance(error, KubeRefused) and (error.code in (404, 409) or "being terminated" in str(error)):
            _log.debug("Event refused", extra={"error": str(error)})
            return "refused"
        if not self._refused_before:
            _log.warning(
                "Events are refused: check that a Role or ClusterRole grants create and patch on events",
                extra={"error": str(error)},
            )
        self._refused_before = True
        return "refused"


def _namespace(record: EventRecord) -> str:
    return record.first.regarding.namespace or "default"


def _path(record: EventRecord) -> str:
    return f"/api/v1/namespaces/{quote(_namespace(record))}/events"


def _timestamp(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
