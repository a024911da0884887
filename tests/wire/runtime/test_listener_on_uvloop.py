"""The listener on the loop of production: uvloop has sockets, timers and a server of its own."""

import asyncio

from iam4kube.runtime.asgi import text_response
from iam4kube.runtime.lifecycle import run
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.parsing import ListenAddress

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def a_whole_life() -> tuple[bytes, bytes, int, bool]:
    """An answer before the drain, one while draining, and what is left after the stop."""
    listener = Listener(text_response(200, "hello"), ListenAddress("127.0.0.1", 0), name="test", setting="--listen")
    await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(REQUEST)
    before = await reader.readuntil(b"hello")
    listener.drain(idle=60, spread=0)
    writer.write(REQUEST)
    while_draining = await reader.read()
    writer.close()
    await writer.wait_closed()
    await listener.stop(5)
    try:
        await asyncio.open_connection("127.0.0.1", listener.port)
    except ConnectionRefusedError:
        return before, while_draining, listener.open_connections, True
    return before, while_draining, listener.open_connections, False


def test_a_listener_lives_and_stops_on_uvloop() -> None:
    """Its tests in virtual time run on asyncio's own loop."""
    before, while_draining, left, refused = run(a_whole_life())
    assert b"connection: close" not in before
    assert b"connection: close" in while_draining
    assert (left, refused) == (0, True)
