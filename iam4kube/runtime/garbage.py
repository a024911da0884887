"""Keeping the garbage collector away from what lives as long as the process.

A full collection walks every container there is, and nobody is answered meanwhile: with the tables of 150,000 pods it
took 45 to 75 ms, measured. Nearly all of it is walked in vain: modules, tables and their indexes never become
garbage as cycles. So they are frozen: counted references still free them, only the collector does not look any more.
What is made later (connections, requests) is collected as ever, in well under a millisecond.
"""

import asyncio
import gc
from collections.abc import Callable

PERIOD = 0.25
"""Seconds. A list brings some 5,000 pods in that time, which a collection still walks in under 2 ms."""

_THAW_EVERY = 240
"""Periods: a minute, several times what the largest cluster takes to be synced."""


async def freeze_until(settled: Callable[[], bool]) -> None:
    """Freeze what there is, again and again while the tables fill, and for the last time once they are `settled`.

    Never returns. Garbage is collected first, among what was made since the last time: the largest cluster is synced no
    later for it (bench/sync.py, three runs each: 6.7 to 10.3 s, 8.1 to 10.6 s without), nor does a request wait longer.
    What becomes garbage when it is frozen already, as a failing call under way does, would stay, and an API server that
    is down leaves tables unsettled for days. So every minute all is thawed and walked once: 57 ms without any pods.
    """
    gc.freeze()
    periods = 0
    while not settled():  # nobody tells, and nothing depends on the moment
        await asyncio.sleep(PERIOD)
        periods += 1
        if periods % _THAW_EVERY == 0:
            gc.unfreeze()
        gc.collect()
        gc.freeze()
    await asyncio.get_running_loop().create_future()
