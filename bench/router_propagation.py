"""From an EndpointSlice's change at the API server to the kernel's map.

Time runs from the first sign of the change outside the API server, the writer's acknowledgement or a second watch's
event, to the kernel's own notice of the transaction: zero if that is earlier. The next change follows after a pause
of any length, so that some come while the router is verifying.
"""

import asyncio
import random

from bench.figures import Figure, spread
from bench.router_node import RoutedNode
from ip2service.layout import Mode

_LONGEST_PAUSE = 0.04


async def propagation(node: RoutedNode, mode: Mode, *, times: int, beside: str = "") -> list[Figure]:
    """One change after the other, in endpoints mode of an endpoint, in service mode of the gate."""
    change = endpoint_change if mode is Mode.ENDPOINTS else gate_change
    what = "an endpoint replaced" if mode is Mode.ENDPOINTS else "the gate closed or opened"
    durations = []
    for count in range(times):
        durations.append(await change(node, count))
        await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))
    return spread(f"{what}, {mode.value} mode{beside}", durations)


async def endpoint_change(node: RoutedNode, _count: int) -> float:
    """Seconds until another endpoint is in the map."""
    number = node.cluster.new_number()
    seen = node.notices.expected(str(number))
    await node.cluster.replace(number)
    return max(0.0, await node.arrival(seen) - node.cluster.left[number])


async def gate_change(node: RoutedNode, count: int) -> float:
    """Seconds until the gate is closed (even counts) or open."""
    number = node.cluster.new_number()
    seen = node.notices.expected("open" if count % 2 else "closed")
    await node.cluster.open_gate(number, is_open=bool(count % 2))
    return max(0.0, await node.arrival(seen) - node.cluster.left[number])
