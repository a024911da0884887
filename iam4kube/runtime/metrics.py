"""One registry a program, made here and handed to whoever measures. Names: program_part_what_unit[_total].

Labels have few values that we choose ourselves. Never a role, a pod or an address: that is a series for each.
"""

import asyncio

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder

_LAG_PERIOD = 0.1
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


def new_registry(*, program: str, version: str) -> CollectorRegistry:
    """A registry with what every process tells of itself: `process_*`, `python_*`, and `{program}_build_info`."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Info(f"{program}_build", "The version that runs.", registry=registry).info({"version": version})
    return registry


def render(registry: CollectorRegistry, *, accept: str = "") -> tuple[bytes, str]:
    """All metrics as text and its content type, in the format that the scraper's Accept header prefers."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class LoopLag:
    """Measures how late the event loop is: while it is blocked, nobody is answered."""

    def __init__(self, registry: CollectorRegistry, *, program: str) -> None:
        self._lag = Histogram(
            f"{program}_event_loop_lag_seconds",
            "How much later than asked the event loop woke a timer, measured ten times a second.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )

    async def run(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_PERIOD
            await asyncio.sleep(_LAG_PERIOD)
            self._lag.observe(max(0.0, loop.time() - due))
