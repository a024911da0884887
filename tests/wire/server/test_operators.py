"""The operators' port, which pods can reach wherever no NetworkPolicy keeps them away."""

import asyncio
from contextlib import AsyncExitStack
from itertools import product

from tests.support.world import World

ROGUE = "127.0.1.66"


async def test_connections_of_one_source_leave_room_for_probes(world: World) -> None:
    """Beyond fifty of them each is ended at once, and those that say nothing are ended later."""
    async with world.replica() as replica, AsyncExitStack() as stack:
        ended = 0
        for _ in range(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", replica.ports.admin, local_addr=(ROGUE, 0))
            stack.callback(writer.close)
            try:
                async with asyncio.timeout(0.05):
                    ended += await reader.read() == b""
            except TimeoutError:
                pass
            except ConnectionResetError:
                ended += 1
        assert ended == 10
        assert (await replica.admin("/livez")).status == 200
        assert (await replica.admin("/metrics")).status == 200


async def test_connections_of_many_sources_leave_room_for_probes(world: World) -> None:
    """Otherwise a handful of pods has every replica restarted, because its kubelet gets no answer."""
    async with world.replica() as replica, AsyncExitStack() as stack:
        for number, _ in product(range(10), range(50)):
            rogue = (f"127.0.1.{100 + number}", 0)
            _, writer = await asyncio.open_connection("127.0.0.1", replica.ports.admin, local_addr=rogue)
            stack.callback(writer.close)
        assert (await replica.admin("/livez")).status == 200
