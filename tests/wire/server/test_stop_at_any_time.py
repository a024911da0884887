"""SIGTERM while the server starts, or while a call to AWS never ends: a stop in good order, and soon."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, repeat

from tests.support.world import ReplicaProcess, World

SEEKING = "Waiting for the instance metadata service to tell the region"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 100000\r\n\r\n"


class Unanswering:
    """An HTTP server that answers nothing, or whose answer trickles in and does not end."""

    def __init__(self, *, trickle: bool = False) -> None:
        self.asked = asyncio.Event()
        """Set by each request."""
        self.url = ""
        self._trickle = trickle

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Unanswering"]:
        """Listen on loopback."""
        holding: list[asyncio.Task[None]] = []

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            holding.append(asyncio.create_task(self._hold(reader, writer)))

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            try:
                yield self
            finally:
                for each in holding:
                    each.cancel()
                await asyncio.gather(*holding, return_exceptions=True)

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.asked.set()
            for part in chain([HEAD], repeat(b"<")) if self._trickle else ():
                writer.write(part)
                await asyncio.sleep(0.2)
            await reader.read()
        finally:
            writer.close()


async def stop(replica: ReplicaProcess) -> tuple[int, float]:
    """Send SIGTERM; returns the exit code, and the seconds until the end."""
    began = time.monotonic()
    replica.terminate()
    return await replica.exit_code(), time.monotonic() - began


@asynccontextmanager
async def starting(world: World, *flags: str, **environment: str) -> AsyncIterator[ReplicaProcess]:
    """A replica in a process of its own that has only just been started; killed at the end."""
    replica = await ReplicaProcess.begin(*world.flags(*flags), environment={**world.environment(), **environment})
    try:
        yield replica
    finally:
        await replica.kill()


async def test_a_server_that_seeks_its_region_stops_at_once(world: World) -> None:
    """On a node that has just booted the instance metadata service is shut for two minutes."""
    nowhere = {"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_EC2_METADATA_DISABLED": "false"}
    async with Unanswering().running() as instance:
        nowhere["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = instance.url
        async with starting(world, **nowhere) as replica:
            await replica.until(lambda: SEEKING in replica.messages)
            instance.asked.clear()
            async with asyncio.timeout(15):
                await instance.asked.wait()  # a thread waits for the answer now, and nobody can stop it
            code, seconds = await stop(replica)
    assert (code, replica.messages[-1]) == (0, "Stopped")
    assert seconds < 2
    assert replica.logged("Stop step ended", step="the rest", outcome="done")


async def test_an_answer_of_sts_that_never_ends_does_not_keep_the_process_from_ending(world: World) -> None:
    """Each byte comes in time for botocore's time-outs, so the thread that reads them stays."""
    async with (
        Unanswering(trickle=True).running() as sts,
        starting(world, f"--sts-endpoint-url={sts.url}", "--drain-time=0s") as replica,
    ):
        await replica.until(lambda: replica.ports.metadata)
        async with asyncio.timeout(15):
            await sts.asked.wait()
        code, seconds = await stop(replica)
    assert (code, replica.messages[-1]) == (0, "Stopped")
    assert seconds < 5
