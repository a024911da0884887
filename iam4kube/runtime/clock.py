"""Wall time, injected. Durations come from the event loop's clock; this is for what others date in UTC."""

from collections.abc import Callable
from datetime import UTC, datetime

Now = Callable[[], datetime]
"""Returns the current time, aware, in UTC."""


def utc_now() -> datetime:
    """The machine's wall clock: the one place in the project that reads it."""
    return datetime.now(UTC)
