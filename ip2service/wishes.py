"""From what is known of the Service to what the reconciler is asked for, on every change and every few seconds.

The few seconds are for exempt pods alone. An exemption is the most powerful thing that the router gives away, so it
holds only while the API server confirms it: when a router is cut off, a server pod may go and its address become
another pod's without anybody telling. So it is after a reboot of the node: every pod's address is given away anew, and
the slices have the old ones until the kubelet has reported.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Never, Protocol

from iam4kube.kube.objects import Address
from iam4kube.runtime.clock import Uptime
from ip2service.backends_view import BackendsView
from ip2service.desired import contents_of
from ip2service.layout import Contents, Layout

logger = logging.getLogger(__name__)

LOOK_PERIOD: Final = 10.0
"""Seconds between two looks at the watch's age."""
EXEMPTION_LIMIT: Final = 120.0
"""Seconds without news of the EndpointSlices after which nobody is exempt. A watch that is well is never older than
about 75: an idle one is taken up anew after 70."""
BOOT_LIMIT: Final = 120.0
"""Seconds from the node's boot until anybody is exempt. The kubelet reports new addresses as it starts the pods,
usually seconds after it is up; one that takes longer leaves a gap, which docs/routing.md names."""


class Reconciler(Protocol):
    """Who grants wishes."""

    def want(self, contents: Contents, *, known: frozenset[Address]) -> None:
        """Make this what the kernel should hold."""
        ...


class Wishes:
    """Makes the wishes. Knows nothing of its own but why exemptions are withheld."""

    def __init__(
        self,
        layout: Layout,
        reconciler: Reconciler,
        *,
        view: Callable[[], BackendsView],
        age: Callable[[], float],
        uptime: Uptime,
        exempt_servers: bool,
        seen: Callable[[BackendsView], None],
    ) -> None:
        """`age`: seconds since the last news of the EndpointSlices. `seen` hears of every view that led to a wish."""
        self._layout = layout
        self._reconciler = reconciler
        self._view = view
        self._age = age
        self._uptime = uptime
        self._exempt_servers = exempt_servers
        self._seen = seen
        self._doubt = ""

    def make(self) -> None:
        """Ask for what follows from the view, once there is one."""
        view = self._view()
        if not view.synced:
            return
        contents = contents_of(self._layout, view, exempt_servers=self._may_exempt())
        known = frozenset(address for each in view.families.values() for address in each.addresses_in_slices)
        self._reconciler.want(contents, known=known)
        self._seen(view)

    async def run(self) -> Never:
        """Make the wish again and again; the reconciler passes over one that it has granted."""
        while True:
            await asyncio.sleep(LOOK_PERIOD)
            self.make()

    def _may_exempt(self) -> bool:
        if not self._exempt_servers:
            return False
        doubt = self._why_not()
        if doubt and doubt != self._doubt:
            logger.warning("No server pod is exempt", extra={"reason": doubt})
        self._doubt = doubt
        return not doubt

    def _why_not(self) -> str:
        """Why an address in the slices may be another pod's by now; empty if they are to be believed."""
        if self._uptime() < BOOT_LIMIT:
            return f"the node has booted within the last {BOOT_LIMIT:g} s: the slices may have its pods' old addresses"
        if self._age() > EXEMPTION_LIMIT:
            return f"the API server has confirmed none of them for {EXEMPTION_LIMIT:g} s"
        return ""
