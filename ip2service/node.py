"""The router's own node: read now and then, because a watch would need more permissions, and told what is broken.

Zone and addresses come with the node's registration or soon after it, and hardly ever change.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final, Never, Protocol

from iam4kube.kube.client import KubeClient
from iam4kube.kube.correlation import EventType, ObjectReference
from iam4kube.kube.errors import KubeError
from iam4kube.kube.objects import Node
from iam4kube.kube.resources import NODES
from iam4kube.runtime.backoff import reconnect_backoff
from ip2service.selection import Place

_log = logging.getLogger(__name__)

REFRESH: Final = (480.0, 720.0)
"""Seconds between two reads, drawn at random: 5,000 nodes make eight requests a second at most."""
_READ_TIMEOUT = 10.0  # seconds


class NodeReader:
    """Owns what is known of this node. `run` keeps it."""

    def __init__(
        self,
        client: KubeClient,
        name: str,
        *,
        changed: Callable[[Place], None],
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`changed` is called with the place that this node is in, when it is known and when it changes."""
        self._client = client
        self._name = name
        self._changed = changed
        self._uniform = uniform
        self._backoff = reconnect_backoff()
        self._place: Place | None = None

    async def run(self) -> Never:
        """Read the node, at once and then every ten minutes; sooner again when there is no complete answer."""
        while True:
            delay = await self._read()
            await asyncio.sleep(delay)

    async def _read(self) -> float:
        """Read it once; returns the seconds to wait before the next time."""
        try:
            node = await self._client.get(NODES, namespace="", name=self._name, timeout=_READ_TIMEOUT)
        except KubeError as error:
            return self._delay_after(str(error), at_least=error.retry_after)
        if node is None:
            return self._delay_after("there is no Node of this name: check --node-name")
        self._take(node)
        if not node.addresses:  # a node that just registered, which somebody is about to describe
            return self._delay_after("the Node has no addresses yet")
        self._backoff.reset()
        return self._uniform(*REFRESH)

    def _take(self, node: Node) -> None:
        place = Place(node=self._name, zone=node.zone or "", addresses=frozenset(node.addresses) or None)
        if place != self._place:
            self._place = place
            fields = {"node": self._name, "zone": place.zone, "addresses": sorted(node.addresses)}
            _log.info("Node read", extra=fields)
            self._changed(place)

    def _delay_after(self, problem: str, *, at_least: float = 0.0) -> float:
        delay = max(self._backoff.next_delay(), at_least)
        fields = {"node": self._name, "error": problem, "retry_seconds": round(delay, 1)}
        _log.warning("Node not read: its zone and its servers are not known, or may be those of before", extra=fields)
        return delay


class Recorder(Protocol):
    """Sends events in the background: `iam4kube.kube.events.EventRecorder`. Never blocks, never raises."""

    def record_about(self, regarding: ObjectReference, *, kind: EventType, reason: str, message: str) -> None:
        """Queue one event, or drop and count it."""
        ...


class NodeEvents:
    """Tells on the Node that its routing is broken, or mended. Owns what was told last."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        # With its name for a UID, as the kubelet does: `kubectl describe node` looks for both.
        self._regarding = ObjectReference(kind="Node", namespace="", name=name, uid=name)
        self._recorder = recorder
        self._told = ""

    def tell(self, problem: str) -> None:
        """Hear how routing is: one sentence that says what is wrong, empty if all is well. Only a change is told."""
        if problem == self._told:
            return
        self._told = problem
        if problem:
            self._record("Warning", "RoutingBroken", problem)
        else:
            self._record("Normal", "RoutingMended", "Pods' requests to the metadata service are routed again")

    def _record(self, kind: EventType, reason: str, message: str) -> None:
        self._recorder.record_about(self._regarding, kind=kind, reason=reason, message=message)
