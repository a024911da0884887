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


async def freeze_until(settled: Callable[[], bool]) -> None:
    """Freeze what there is, again and again while the tables fill, and for the last time once they are `settled`.

    Never returns. What is garbage at those moments stays for ever; at start that is next to nothing.
    """
    gc.freeze()
    while not settled():  # nobody tells, and nothing depends on the moment
        await asyncio.sleep(PERIOD)
        gc.freeze()
    await asyncio.get_running_loop().create_future()
