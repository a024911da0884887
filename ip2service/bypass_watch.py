"""Looks for signs of a bypass, every few seconds: network plugins are installed, and changed, while nodes run."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Never

from ip2service.bypass import BypassSigns
from ip2service.kernel_access import Kernel
from ip2service.kernel_protocols import KernelError
from ip2service.layout import Family
from ip2service.packets import opening_packets, reply_packets, reset_packets
from ip2service.ruleset import ROUTING_TABLE

logger = logging.getLogger(__name__)

PERIOD: Final = 10.0
"""Seconds between two looks. A look takes 2 ms, none of it on the event loop."""


class BypassWatch:
    """Owns what the last look said."""

    def __init__(self, kernel: Kernel, *, accepted: bool, suspected: Callable[[bool], None]) -> None:
        """`accepted`: signs are logged and counted, and no problem. `suspected` hears whether there are any."""
        self._kernel = kernel
        self._accepted = accepted
        self._suspected = suspected
        self._signs = BypassSigns()
        self._sign = ""

    @property
    def problem(self) -> str:
        """One sentence that says why packets seem to be led past the rules, with the remedy; empty if they do not."""
        return "" if self._accepted or not self._sign else f"bypass: {self._sign}"

    async def look(self) -> None:
        """Look once. Raises `KernelError`."""
        links = await self._kernel.link_names()
        table = await self._kernel.tables.read(ROUTING_TABLE)
        packets = {} if table is None else table.packets
        elements = {} if table is None else table.elements
        sign = self._signs.judge(
            links=links,
            opening=opening_packets(packets) - reset_packets(packets),
            replies=reply_packets(packets),
            gate=any(elements.get(f"{ROUTING_TABLE} opening{family.value}") for family in Family),
            now=asyncio.get_running_loop().time(),
        )
        self._suspected(bool(sign))
        # The first one stays until there is none: the number of packets in the sentence goes on growing, and each
        # new sentence would be another event on the node.
        if bool(sign) != bool(self._sign):
            self._log(sign)
            self._sign = sign

    async def try_to_look(self) -> None:
        """Look once, if the kernel answers."""
        try:
            await self.look()
        except KernelError as error:  # the reconciler asks the same kernel, and says what is wrong
            logger.debug("Signs of a bypass not looked for", extra={"error": str(error)})

    async def run(self) -> Never:
        """Go on looking for ever."""
        while True:
            await asyncio.sleep(PERIOD)
            await self.try_to_look()

    def _log(self, sign: str) -> None:
        if sign:
            extra = {"sign": sign, "accepted": self._accepted}
            logger.warning("The network seems to lead pods' packets past the rules", extra=extra)
        else:
            logger.info("Signs of a bypass are gone")
