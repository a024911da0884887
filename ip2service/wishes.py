"""From what is known of the Service to what the reconciler is asked for, on every change and every few seconds.

The few seconds are for exempt pods alone. An exemption is the most powerful thing that the router gives away, so it
holds only while the API server confirms it: when a router is cut off, a server pod may go and its address become
another pod's without anybody telling.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Never, Protocol

from iam4kube.kube.objects import Address
from ip2service.backends_view import BackendsView
from ip2service.desired import contents_of
from ip2service.layout import Contents, Layout

logger = logging.getLogger(__name__)

LOOK_PERIOD: Final = 10.0
"""Seconds between two looks at the watch's age."""
EXEMPTION_LIMIT: Final = 120.0
"""Seconds without news of the EndpointSlices after which nobody is exempt. A watch that is well is never older than
about 75: an idle one is taken up anew after 70."""


class Reconciler(Protocol):
    """Who grants wishes."""

    def want(self, contents: Contents, *, known: frozenset[Address]) -> None:
        """Make this what the kernel should hold."""
        ...


class Wishes:
    """Makes the wishes. Knows nothing of its own but whether exemptions are withheld."""

    def __init__(
        self,
        layout: Layout,
        reconciler: Reconciler,
        *,
        view: Callable[[], BackendsView],
        age: Callable[[], float],
        exempt_servers: bool,
        made: Callable[[Contents, BackendsView], None],
    ) -> None:
        """`age`: seconds since the last news of the EndpointSlices. `made` hears of every wish."""
        self._layout = layout
        self._reconciler = reconciler
        self._view = view
        self._age = age
        self._exempt_servers = exempt_servers
        self._made = made
        self._withheld = False

    def make(self) -> None:
        """Ask for what follows from the view, once there is one."""
        view = self._view()
        if not view.synced:
            return
        contents = contents_of(self._layout, view, exempt_servers=self._exempt_servers and self._is_fresh())
        known = frozenset(address for each in view.families.values() for address in each.addresses_in_slices)
        self._reconciler.want(contents, known=known)
        self._made(contents, view)

    async def run(self) -> Never:
        """Make the wish again and again; the reconciler passes over one that it has granted."""
        while True:
            await asyncio.sleep(LOOK_PERIOD)
            self.make()

    def _is_fresh(self) -> bool:
        withheld = self._age() > EXEMPTION_LIMIT
        if withheld and not self._withheld:
            logger.warning(
                "No server pod is exempt: the API server has confirmed none of them for long",
                extra={"limit_seconds": EXEMPTION_LIMIT},
            )
        self._withheld = withheld
        return not withheld
