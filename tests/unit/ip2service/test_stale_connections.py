"""When connections to servers that are gone are ended; time is virtual."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from iam4kube.kube.objects import Address
from iam4kube.runtime.backoff import Backoff, full_jitter
from ip2service.kernel_protocols import KernelError
from ip2service.stale_connections import PAUSE, StaleConnections

pytestmark = pytest.mark.looptime

ONE, TWO = Address("10.1.0.1"), Address("10.1.0.2")


@dataclass
class Tracking:
    """Notes when it was asked to keep which addresses; fails while it is told to."""

    asked: list[tuple[float, frozenset[Address]]] = field(default_factory=list)
    ended: int = 0
    broken: bool = False

    async def forget(self, known: Collection[Address]) -> int:
        self.asked.append((asyncio.get_running_loop().time(), frozenset(known)))
        if self.broken:
            raise KernelError("Operation not permitted")
        return 3

    def forgot(self, connections: int) -> None:
        self.ended += connections


@asynccontextmanager
async def running(tracking: Tracking) -> AsyncIterator[StaleConnections]:
    """The task, running."""
    backoff = Backoff(full_jitter(initial=1.0, maximum=30.0))
    stale = StaleConnections(tracking.forget, forgot=tracking.forgot, backoff=backoff)
    task = asyncio.create_task(stale.run())
    try:
        yield stale
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_connections_end_when_an_address_has_left_all_slices_and_not_before() -> None:
    """And once at the start, for those that left while no router ran. A new address ends nobody's."""
    tracking = Tracking()
    async with running(tracking) as stale:
        for known in ({ONE}, {ONE, TWO}, {TWO}, {TWO}):
            stale.keep(frozenset(known))
            await asyncio.sleep(10)
    assert tracking.asked == [(0.0, frozenset({ONE})), (20.0, frozenset({TWO}))]
    assert tracking.ended == 6


async def test_endpoints_that_flap_are_looked_into_once_a_second_with_the_last_state() -> None:
    """A look takes a second where a node tracks 100,000 connections."""
    tracking = Tracking()
    async with running(tracking) as stale:
        for _ in range(100):
            stale.keep(frozenset({ONE, TWO}))
            stale.keep(frozenset({TWO}))
            await asyncio.sleep(0.05)
        await asyncio.sleep(10)
    assert len(tracking.asked) == pytest.approx(5 / PAUSE, abs=2)
    assert tracking.asked[-1][1] == {TWO}


async def test_an_address_that_is_back_by_then_keeps_its_connections() -> None:
    """What counts is what is known when the look begins."""
    tracking = Tracking()
    async with running(tracking) as stale:
        stale.keep(frozenset({ONE, TWO}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        stale.keep(frozenset({TWO}))
        stale.keep(frozenset({ONE, TWO}))
        await asyncio.sleep(10)
    assert {known for _, known in tracking.asked} == {frozenset({ONE, TWO})}


async def test_what_fails_is_tried_again_after_growing_pauses() -> None:
    """Until it has been done."""
    tracking = Tracking(broken=True)
    async with running(tracking) as stale:
        stale.keep(frozenset({ONE}))
        await asyncio.sleep(120)
        assert 5 <= len(tracking.asked) <= 60
        tracking.broken = False
        await asyncio.sleep(60)
        assert tracking.ended == 3
