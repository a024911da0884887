"""Ends connections to servers that are gone, beside the loop that keeps the rules.

A client whose server has vanished would send into nothing until it gives up; without its entry in connection
tracking its next packet is answered by a reset. Looking through the entries takes 8 µs for each, and a node may
track 200,000: new endpoints must not wait for that, so it has a task of its own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Never

from iam4kube.kube.objects import Address
from iam4kube.runtime.backoff import Backoff, full_jitter
from ip2service.kernel_protocols import KernelError

logger = logging.getLogger(__name__)

PAUSE: Final = 1.0
"""Seconds at least between two looks, so that endpoints that flap cost no more than that."""


class StaleConnections:
    """Owns which addresses are known. `run` does the rest."""

    def __init__(
        self,
        forget: Callable[[Collection[Address]], Awaitable[int]],
        *,
        forgot: Callable[[int], None],
        backoff: Backoff | None = None,
    ) -> None:
        """`forget` ends the connections to all other addresses, returns how many, and raises `KernelError`."""
        self._forget = forget
        self._forgot = forgot
        self._backoff = backoff or Backoff(full_jitter(initial=1.0, maximum=30.0))
        self._known: frozenset[Address] | None = None
        self._due = asyncio.Event()

    def keep(self, known: frozenset[Address]) -> None:
        """These are all addresses in slices now, and no new connection goes to any other.

        The first time, all others' connections end: servers may have gone while no router ran.
        """
        if self._known is None or not self._known <= known:
            self._due.set()
        self._known = known

    async def run(self) -> Never:
        """End connections when addresses have gone; whatever fails is tried again."""
        while True:
            await self._due.wait()
            self._due.clear()
            await asyncio.sleep(await self._look())

    async def _look(self) -> float:
        """Look once; returns the seconds to wait before the next time."""
        try:
            self._forgot(await self._forget(self._known or frozenset()))
        except KernelError as error:
            self._due.set()
            delay = max(PAUSE, self._backoff.next_delay())
            fields = {"error": str(error), "retry_seconds": round(delay, 1)}
            logger.warning("Connections to servers that are gone could not be ended", extra=fields)
            return delay
        self._backoff.reset()
        return PAUSE
