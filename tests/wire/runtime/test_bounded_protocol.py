"""A port for operators that anybody may reach: what one client may take of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from iam4kube.runtime.asgi import text_response
from iam4kube.runtime.bounded_protocol import ONE_REQUEST, ConnectionBounds, bounded_protocol
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.parsing import ListenAddress

REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def bounds() -> ConnectionBounds:
    """Small ones."""
    return ConnectionBounds(
        connections=4, connections_per_source=3, connections_for_newcomers=1, request_bytes=1000, seconds=1.0
    )


@pytest.fixture
async def port(bounds: ConnectionBounds) -> AsyncIterator[int]:
    """A listener with these bounds that answers everything."""
    listener = Listener(
        text_response(200, "ok\n"),
        ListenAddress("127.0.0.1", 0),
        name="admin",
        setting="--admin-listen",
        protocol=bounded_protocol(bounds),
        headers=(ONE_REQUEST,),
    )
    await listener.start()
    yield listener.port
    await listener.stop(0.5)


async def answer(port: int, request: bytes, *, source: str = "127.0.0.1") -> bytes:
    """Everything until the other end closes; nothing where it resets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    writer.write(request)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_request_is_answered_and_the_connection_closed(port: int, bounds: ConnectionBounds) -> None:
    """Whatever the client would like."""
    answered = await answer(port, REQUEST)
    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in answered
    assert answered.endswith(b"ok\n")
    assert bounds.in_use.total() == 0


async def test_silence_is_cut_off(port: int, bounds: ConnectionBounds) -> None:
    """And its place is free again."""
    assert await answer(port, b"") == b""
    assert await answer(port, REQUEST[:10]) == b""
    assert bounds.in_use.total() == 0


async def test_a_head_without_end_is_cut_off(port: int) -> None:
    """Long before it takes up memory."""
    assert await answer(port, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000) == b""


async def test_one_source_leaves_room_for_others(port: int) -> None:
    """Beyond its share each of its connections is cut off, and the last places are for whoever has none yet."""
    held = [await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.66", 0)) for _ in range(3)]
    assert await answer(port, REQUEST, source="127.0.0.66") == b""
    assert await answer(port, REQUEST) != b""
    held.append(await asyncio.open_connection("127.0.0.1", port))
    assert await answer(port, REQUEST) == b""
    assert await answer(port, REQUEST, source="127.0.0.2") != b""
    held.append(await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0)))
    assert await answer(port, REQUEST, source="127.0.0.3") == b""
    for _, writer in held:
        writer.close()
