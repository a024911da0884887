"""How long the kernel takes, measured around the calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ip2service.kernel_protocols import KernelError, Tables, TableState
from ip2service.metrics import RouterMetrics


class MeasuredTables:
    """nftables, with its calls counted and timed."""

    def __init__(self, tables: Tables, metrics: RouterMetrics) -> None:
        self._tables = tables
        self._metrics = metrics

    async def apply(self, text: str, /) -> None:
        """As `Tables.apply`."""
        async with self._measured("apply"):
            await self._tables.apply(text)

    async def read(self, table: str, /) -> TableState | None:
        """As `Tables.read`."""
        async with self._measured("read"):
            return await self._tables.read(table)

    @asynccontextmanager
    async def _measured(self, call: str) -> AsyncIterator[None]:
        started = asyncio.get_running_loop().time()
        try:
            yield
        except KernelError:
            self._metrics.kernel_failures.labels(call).inc()
            raise
        finally:
            self._metrics.kernel_seconds.labels(call).observe(asyncio.get_running_loop().time() - started)
