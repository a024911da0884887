"""Wall time and the machine's age, injected. Durations come from the event loop's clock.

Wall time is for what others date in UTC, the machine's age for what a boot makes uncertain.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Now = Callable[[], datetime]
"""Returns the current time, aware, in UTC."""


def utc_now() -> datetime:
    """The machine's wall clock: the one place in the project that reads it."""
    return datetime.now(UTC)


Uptime = Callable[[], float]
"""Returns the seconds since the machine's boot."""


def machine_uptime() -> float:
    """The kernel's own count, suspensions included. A container has it from its node."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
