"""Every request of a connection hears that it has ended, whichever the listener's protocol."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from iam4kube.runtime.asgi import Receive, Scope, Send, text_response
from iam4kube.runtime.bounded_protocol import ConnectionBounds, bounded_protocol
from iam4kube.runtime.http_protocol import HttpProtocol
from iam4kube.runtime.listener import Listener
from tests.support.listening import REQUEST, Client, Connect, Start, open_connections
from tests.support.waiting import wait_until

PROTOCOLS = {"plain": HttpProtocol, "bounded": bounded_protocol(ConnectionBounds())}

both = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)


class Patient:
    """An application that waits until its client has gone, where it is not told to answer."""

    def __init__(self) -> None:
        self.answers = 0
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the first few, and wait with the others."""
        self.asked += 1
        if self.asked <= self.answers:
            await text_response(200, "hello")(scope, receive, send)
            return
        while (await receive())["type"] != "http.disconnect":
            pass
        for _ in range(20):  # an end takes a few turns of the loop
            await asyncio.sleep(0)


@pytest.fixture
def without_collector() -> Iterator[None]:
    """References are counted, and cycles stay: as for what was garbage when the collector was told to freeze."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def pipelining_client(connect: Connect, listener: Listener, patient: Patient, *, together: bool) -> Client:
    """One request waits, and two are behind it."""
    client = await connect(listener)
    client.send(REQUEST * 3 if together else REQUEST)
    await wait_until(lambda: patient.asked == 1)
    if not together:
        client.send(REQUEST * 2)
        await asyncio.sleep(0.005)  # so that the server reads them by themselves
    return client


async def nothing_is_left(listener: Listener) -> None:
    """Wait until there is neither a task nor a connection."""
    await wait_until(lambda: (listener.running_requests, listener.open_connections) == (0, 0), seconds=2)


@both
@pytest.mark.parametrize("together", [True, False])
async def test_a_client_that_hangs_up_is_noticed_with_requests_in_the_queue(
    start: Start, connect: Connect, protocol: type[HttpProtocol], together: bool
) -> None:
    """The one that runs ends, and those behind it never begin."""
    patient = Patient()
    listener = await start(patient, protocol=protocol)
    client = await pipelining_client(connect, listener, patient, together=together)
    await client.close()
    await nothing_is_left(listener)
    assert patient.asked == 1


@both
async def test_a_request_that_was_queued_hears_of_the_end_too(
    start: Start, connect: Connect, protocol: type[HttpProtocol]
) -> None:
    """It is the second that waits, and not the newest."""
    patient = Patient()
    patient.answers = 1
    listener = await start(patient, protocol=protocol)
    client = await connect(listener)
    client.send(REQUEST * 3)
    await client.answer()
    await wait_until(lambda: patient.asked == 2)
    await client.close()
    await nothing_is_left(listener)


async def test_the_time_of_a_bounded_connection_ends_its_requests(start: Start, connect: Connect) -> None:
    """Those in the queue as well."""
    patient = Patient()
    listener = await start(patient, protocol=bounded_protocol(ConnectionBounds(seconds=0.1)))
    client = await pipelining_client(connect, listener, patient, together=True)
    await nothing_is_left(listener)
    await client.close()


@both
async def test_a_stop_that_breaks_off_is_heard(
    start: Start, connect: Connect, caplog: pytest.LogCaptureFixture, protocol: type[HttpProtocol]
) -> None:
    """Requests end by themselves then: one that has to be cancelled is logged with a traceback."""
    patient = Patient()
    listener = await start(patient, protocol=protocol)
    client = await pipelining_client(connect, listener, patient, together=True)
    async with asyncio.timeout(1):
        await listener.stop(0.05)
    assert (listener.running_requests, listener.open_connections) == (0, 0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    await client.close()


@both
@pytest.mark.usefixtures("without_collector")
async def test_a_connection_with_requests_in_its_queue_is_not_left_to_the_collector(
    start: Start, connect: Connect, protocol: type[HttpProtocol]
) -> None:
    """It freezes what it finds while tables fill."""
    patient = Patient()
    listener = await start(patient, protocol=protocol)
    client = await pipelining_client(connect, listener, patient, together=True)
    await open_connections(listener, 1)
    connection = weakref.ref(next(iter(listener.state.connections)))
    await client.close()
    await nothing_is_left(listener)
    await wait_until(lambda: connection() is None, seconds=2)
