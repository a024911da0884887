"""Back-off: delays that grow, spread, and start afresh after a quiet time."""

import asyncio

import pytest

from iam4kube.runtime.backoff import Backoff, delay_and_jitter, full_jitter, reconnect_backoff

pytestmark = pytest.mark.looptime


def delays(backoff: Backoff, count: int) -> list[float]:
    """The next delays, as if every try failed at once."""
    return [backoff.next_delay() for _ in range(count)]


async def test_reconnects_wait_as_client_go_does() -> None:
    """0.8 to 1.6 s, doubling, and 30 to 60 s from the seventh failure on."""
    for _ in range(200):
        lowest = [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]
        for low, delay in zip(lowest, delays(reconnect_backoff(), len(lowest)), strict=True):
            assert low <= delay <= 2 * low


async def test_full_jitter_uses_the_whole_range() -> None:
    """From nothing to a limit that doubles: a thousand callers are spread over all of it."""
    third = sorted(delays(Backoff(full_jitter(initial=1, maximum=60)), 3)[2] for _ in range(1000))
    assert 0 <= third[0] < 0.2
    assert 3.8 < third[-1] <= 4
    assert 1.8 < sum(third) / len(third) < 2.2


async def test_full_jitter_keeps_to_its_limits() -> None:
    """The maximum holds for ever, however many failures there were, and so does the minimum."""
    backoff = Backoff(full_jitter(initial=1, maximum=60, minimum=0.5))
    assert all(0.5 <= delay <= 60 for delay in delays(backoff, 5000))
    assert backoff.failures == 5000


async def test_a_success_that_resets_makes_the_next_failure_the_first() -> None:
    """Whoever knows that it works again says so."""
    backoff = Backoff(delay_and_jitter(initial=1, maximum=64))
    assert delays(backoff, 5)[-1] >= 16
    backoff.reset()
    assert 1 <= backoff.next_delay() <= 2


async def test_a_quiet_time_after_the_last_delay_resets() -> None:
    """Two minutes without a failure, counted from the next try on: a delay of a minute is no quiet time."""
    backoff = reconnect_backoff()
    delay = delays(backoff, 8)[-1]
    await asyncio.sleep(delay + 119)
    assert backoff.next_delay() >= 30
    await asyncio.sleep(61 + 120)
    assert backoff.next_delay() <= 1.6


async def test_an_outage_longer_than_the_quiet_time_resets_nothing() -> None:
    """client-go as written since 2026 does, and hammers a server that is down twice as often."""
    backoff = reconnect_backoff()
    loop = asyncio.get_running_loop()
    tries = 0
    while loop.time() < 3600:
        tries += 1
        await asyncio.sleep(backoff.next_delay())
    assert 60 <= tries <= 110
