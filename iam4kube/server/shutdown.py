"""Going without losing a request: the steps after SIGTERM, in order.

The pod's deletion takes the replica out of the ready endpoints, but that has to reach every node, so requests
are served as before for the drain time, without keeping connections open. Readiness does not change: when no
ready endpoint is left, kube-proxy falls back to terminating ones that still are. Balancers that poll see
`/drainz` turn 503. Watches and refreshes run on until the last request is answered.

The bounds add up to the drain time, the request deadline and 14 s, the end of the rest included: within the 60 s of
`terminationGracePeriodSeconds` with the defaults.
"""

import asyncio
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge

from iam4kube.runtime.lifecycle import StopStep
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.waits import Waits

_SLACK = 1.0
_LISTENER_BOUND = 5.0
_OPERATORS_BOUND = 2.0
_POLL = 0.02


class Drain:
    """Owns whether the replica is going."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.under_way = False
        Gauge("iam4kube_draining", "1 from SIGTERM on.", registry=registry).set_function(lambda: self.under_way)


def stop_steps(
    *,
    drain: Drain,
    drain_time: float,
    request_deadline: float,
    metadata: Listener,
    operators: Sequence[Listener],
    waits: Waits,
) -> list[StopStep]:
    """The steps that end a replica. Afterwards nothing of it serves or waits; the rest may be cancelled.

    `drain_time` and `request_deadline` are in seconds.
    """

    async def serve_on() -> None:
        drain.under_way = True
        metadata.drain()
        await asyncio.sleep(drain_time)

    async def let_waiters_end() -> None:
        """Each at its own deadline, or at its answer."""
        while len(waits):  # noqa: ASYNC110  # the last of thousands of waits has no event of its own
            await asyncio.sleep(_POLL)

    async def close_metadata() -> None:
        waits.close()
        await metadata.stop(_LISTENER_BOUND)

    async def close_operators() -> None:
        for listener in operators:
            await listener.stop(_OPERATORS_BOUND)

    return [
        StopStep("drain", serve_on, drain_time + _SLACK),
        StopStep("waiting requests", let_waiters_end, request_deadline + _SLACK),
        StopStep("metadata listener", close_metadata, _LISTENER_BOUND + _SLACK),
        StopStep("operators' listeners", close_operators, len(operators) * _OPERATORS_BOUND + _SLACK),
    ]
