"""The listener on real sockets: what its connections say, and how it stops."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from iam4kube.runtime.asgi import Application, Receive, Scope, Send, text_response
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.parsing import ListenAddress
from iam4kube.runtime.settings import SettingsError
from iam4kube.runtime.sockets import bind

pytestmark = pytest.mark.looptime  # both ends are in this process: time stands still while bytes are on the way

LOOPBACK = ListenAddress("127.0.0.1", 0)
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Start = Callable[..., Awaitable[Listener]]


class Gate:
    """An application that answers once it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.asked = asyncio.Event()
        self.cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer "late" then."""
        self.asked.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await text_response(200, "late")(scope, receive, send)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes = REQUEST) -> None:
        """Write, and do not wait."""
        self._writer.write(data)

    async def answer(self) -> tuple[bytes, bytes]:
        """Head and body of the next answer."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        return head, await self._reader.readexactly(length)

    async def ask(self) -> tuple[bytes, bytes]:
        """Send a request and return head and body."""
        self.send()
        return await self.answer()

    async def ended(self) -> bytes:
        """What still comes, up to the end of the connection."""
        return await self._reader.read()

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass


Connect = Callable[..., Awaitable[Client]]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    """Start a listener with "hello" or another application; it is stopped at the end."""
    listeners: list[Listener] = []

    async def start(
        application: Application | None = None, address: ListenAddress = LOOPBACK, **more: object
    ) -> Listener:
        application = application or text_response(200, "hello")
        listener = Listener(application, address, name="test", setting="--listen", **more)  # type: ignore[arg-type]  # as given
        listeners.append(listener)
        await listener.start()
        return listener

    yield start
    for listener in listeners:
        await listener.stop(0)


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connect to a listener; the connection is closed at the end."""
    clients: list[Client] = []

    async def connect(listener: Listener, host: str = "127.0.0.1") -> Client:
        client = Client(*await asyncio.open_connection(host, listener.port))
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client.close()


async def open_connections(listener: Listener, count: int) -> None:
    """Wait until the listener has so many."""
    while listener.open_connections != count:  # noqa: ASYNC110  # uvicorn's set of connections tells nobody
        await asyncio.sleep(0.001)


async def test_answers_carry_the_date_and_the_headers_of_the_listener(start: Start, connect: Connect) -> None:
    """And no other of uvicorn's own."""
    now = datetime(2026, 11, 1, 10, 15, tzinfo=UTC)
    listener = await start(headers=((b"server", b"EC2ws"),), now=lambda: now)
    client = await connect(listener)
    head, body = await client.ask()
    assert body == b"hello"
    assert head == (
        b"HTTP/1.1 200 OK\r\n"
        b"date: Sun, 01 Nov 2026 10:15:00 GMT\r\n"
        b"server: EC2ws\r\n"
        b"content-type: text/plain; charset=utf-8\r\n"
        b"content-length: 5\r\n\r\n"
    )


async def test_connections_and_requests_are_counted(start: Start, connect: Connect) -> None:
    """Idle connections are no requests."""
    gate = Gate()
    listener = await start(gate)
    await connect(listener)
    busy = await connect(listener)
    busy.send()
    await gate.asked.wait()
    await open_connections(listener, 2)
    assert listener.running_requests == 1
    gate.opened.set()
    assert (await busy.answer())[1] == b"late"
    await busy.close()
    await open_connections(listener, 1)
    assert listener.running_requests == 0


async def test_no_header_changes_the_peers_address(start: Start, connect: Connect) -> None:
    """By default uvicorn believes X-Forwarded-For from 127.0.0.1: it is the only identity there is."""
    peers: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        peers.append(scope["client"][0])
        await text_response(200, "")(scope, receive, send)

    client = await connect(await start(note))
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.0.9\r\nForwarded: for=10.0.0.9\r\n\r\n")
    await client.answer()
    assert peers == ["127.0.0.1"]


async def test_accepted_connections_do_not_wait_for_more_to_send(start: Start, connect: Connect) -> None:
    """TCP_NODELAY: two writes cost 44 ms with Nagle's algorithm."""
    listener = await start()
    await (await connect(listener)).ask()
    (connection,) = listener.state.connections
    accepted = connection.transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_a_protocol_of_ones_own_gets_the_listeners_state(start: Start, connect: Connect) -> None:
    """The seam for limits on connections."""
    seen: list[object] = []

    class Watched(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            seen.append(self.server_state)
            super().connection_made(transport)

    listener = await start(protocol=Watched)
    await (await connect(listener)).ask()
    assert seen == [listener.state]


async def test_every_address_is_ipv4_and_ipv6(start: Start, connect: Connect) -> None:
    """One socket for both, so that IPv4 peers appear as IPv4-mapped."""
    peers: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        peers.append(scope["client"][0])
        await text_response(200, "")(scope, receive, send)

    listener = await start(note, ListenAddress("", 0))
    await (await connect(listener)).ask()
    if socket.has_dualstack_ipv6():
        await (await connect(listener, "::1")).ask()
        assert peers == ["::ffff:127.0.0.1", "::1"]
    else:
        assert peers == ["127.0.0.1"]


async def test_before_the_start_clients_are_refused(connect: Connect) -> None:
    """Bound early, so that a mistake shows early; listening late, so that nobody waits for a server that may fail."""
    listener = Listener(text_response(200, ""), LOOPBACK, name="test", setting="--listen")
    listener.bind()
    assert listener.port > 0
    assert not listener.accepting
    with pytest.raises(ConnectionRefusedError):
        await connect(listener)
    await listener.stop(0)


async def test_a_port_in_use_is_one_line_that_names_the_setting() -> None:
    """The commonest mistake at start."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        listener = Listener(text_response(200, ""), ListenAddress("127.0.0.1", port), name="test", setting="--listen")
        with pytest.raises(SettingsError) as mistake:
            listener.bind()
    expected = f"--listen is '127.0.0.1:{port}': another process listens there; stop it or choose another port"
    assert mistake.value.mistakes == (expected,)


async def test_a_port_taken_between_binding_and_listening_is_the_same_line() -> None:
    """Linux lets two sockets bind one port, and refuses the second one that listens."""
    first = bind(LOOPBACK, setting="--listen")
    address = ListenAddress("127.0.0.1", first.getsockname()[1])
    listener = Listener(text_response(200, ""), address, name="test", setting="--listen")
    listener.bind()
    with first:
        first.listen()
        with pytest.raises(SettingsError, match="another process listens there"):
            await listener.start()
    await listener.stop(0)


def test_an_address_of_another_machine_is_one_line_that_names_the_setting() -> None:
    """192.0.2.1 is reserved for documentation: nobody has it."""
    with pytest.raises(SettingsError, match=r"^--admin-listen is '192\.0\.2\.1:0': this machine has no such address"):
        bind(ListenAddress("192.0.2.1", 0), setting="--admin-listen")


@pytest.mark.parametrize("reason", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_every_address_is_ipv4_where_there_is_no_ipv6(reason: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some nodes run without it."""

    class WithoutIpv6(socket.socket):
        def bind(self, address: object) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(reason, "no IPv6 here")
            super().bind(address)  # type: ignore[arg-type]  # whatever was given

    monkeypatch.setattr(socket, "socket", WithoutIpv6)
    with bind(ListenAddress("", 0), setting="--listen") as bound:
        assert bound.getsockname()[0] == "0.0.0.0"


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
