"""How the listener stops: it drains first, and then waits for the requests under way."""

import asyncio

import pytest

from tests.support.listening import Client, Connect, Gate, Start, open_connections

pytestmark = pytest.mark.looptime  # both ends are in this process: time stands still while bytes are on the way


async def test_while_draining_new_connections_are_answered_and_closed(start: Start, connect: Connect) -> None:
    """Until every node has heard that this replica is going, requests keep arriving."""
    listener = await start()
    listener.drain()
    for _ in range(3):
        client = await connect(listener)
        head, body = await client.ask()
        assert b"\r\nconnection: close\r\n" in head
        assert body == b"hello"
        assert await client.ended() == b""
    assert listener.accepting


async def test_a_request_that_was_under_way_when_the_drain_began_closes_its_connection(
    start: Start, connect: Connect
) -> None:
    """It may have waited for fifteen seconds, and its answer says so too."""
    gate = Gate()
    listener = await start(gate)
    client = await connect(listener)
    client.send()
    await gate.asked.wait()
    listener.drain()
    gate.opened.set()
    head, body = await client.answer()
    assert b"connection: close" in head
    assert (body, await client.ended()) == (b"late", b"")


async def test_the_closing_header_survives_the_renewal_of_the_date(start: Start, connect: Connect) -> None:
    """Both are headers of every answer."""
    listener = await start()
    listener.drain()
    await asyncio.sleep(1.05)
    head, _ = await (await connect(listener)).ask()
    assert head.count(b"connection: close") == 1


async def test_idle_connections_are_closed_one_by_one_after_their_idle_time(start: Start, connect: Connect) -> None:
    """Not all at once: their clients would come back all at once."""
    loop = asyncio.get_running_loop()
    listener = await start()
    clients = [await connect(listener) for _ in range(3)]
    for client in clients:
        await client.ask()
    begun = loop.time()
    listener.drain(idle=0.2, spread=0.3)

    async def seconds_until_end(client: Client) -> float:
        assert await client.ended() == b""
        return loop.time() - begun

    ends = sorted(await asyncio.gather(*map(seconds_until_end, clients)))
    assert ends == pytest.approx([0.2, 0.3, 0.4], abs=0.01)


async def test_an_idle_connection_that_asks_while_draining_is_answered(start: Start, connect: Connect) -> None:
    """It is closed by that answer, and not before."""
    gate = Gate()
    listener = await start(gate)
    client = await connect(listener)
    await open_connections(listener, 1)
    listener.drain(idle=0.05, spread=0)
    client.send()
    await asyncio.sleep(0.15)
    gate.opened.set()
    assert (await client.answer())[1] == b"late"
    assert await client.ended() == b""


async def test_stop_waits_for_the_requests_under_way(start: Start, connect: Connect) -> None:
    """And accepts no more meanwhile."""
    gate = Gate()
    listener = await start(gate)
    client = await connect(listener)
    client.send()
    await gate.asked.wait()
    stop = asyncio.create_task(listener.stop(5))
    await asyncio.sleep(0.05)
    assert not listener.accepting
    with pytest.raises(ConnectionRefusedError):
        await connect(listener)
    assert not stop.done()
    gate.opened.set()
    assert (await client.answer())[1] == b"late"
    await asyncio.wait_for(stop, 0.5)
    assert listener.open_connections == 0


async def test_stop_closes_idle_connections_at_once(start: Start, connect: Connect) -> None:
    """They have been answered: nobody waits for anything."""
    listener = await start()
    client = await connect(listener)
    await client.ask()
    await asyncio.wait_for(listener.stop(5), 0.5)
    assert await client.ended() == b""


async def test_stop_answers_the_first_request_of_a_connection_that_is_just_open(start: Start, connect: Connect) -> None:
    """It was accepted a moment ago, and its request is on the way."""
    listener = await start()
    client = await connect(listener)
    await open_connections(listener, 1)
    stop = asyncio.create_task(listener.stop(5))
    await asyncio.sleep(0.1)
    assert (await client.ask())[1] == b"hello"
    await asyncio.wait_for(stop, 0.5)


async def test_stop_does_not_wait_longer_for_a_connection_that_never_asks(start: Start, connect: Connect) -> None:
    """A second, and not until the bound."""
    listener = await start()
    client = await connect(listener)
    await open_connections(listener, 1)
    await asyncio.wait_for(listener.stop(10), 2)
    assert await client.ended() == b""


async def test_stop_breaks_off_at_its_bound(start: Start, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """A request that never ends must not hold the process up; its task is cancelled and leaves nothing behind."""
    gate = Gate()
    listener = await start(gate)
    client = await connect(listener)
    client.send()
    await gate.asked.wait()
    await asyncio.wait_for(listener.stop(0.1), 0.5)
    assert gate.cancelled
    assert (listener.open_connections, listener.running_requests) == (0, 0)
    assert await client.ended() == b""
    (record,) = [each for each in caplog.records if each.name == "iam4kube.runtime.listener"]
    assert (record.__dict__["connections"], record.__dict__["requests"]) == (1, 1)


async def test_stop_may_be_called_again(start: Start) -> None:
    """By whoever cleans up."""
    listener = await start()
    await listener.stop(1)
    await listener.stop(1)
