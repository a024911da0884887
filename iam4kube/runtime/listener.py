"""One HTTP listener: uvicorn's protocol on a socket of ours, with a stop in two parts.

uvicorn's own `Server` takes the signals, exits the process when a port is in use, and stops in one go. Here
the process decides about all three, so only uvicorn's configuration and protocol are used, on the event
loop's own server. There is no task: what could die is only a timer that renews the `Date` header.

The stop: `drain` while new connections are still answered, since it takes a while until every node has heard
that this replica is going; then `stop`, which accepts no more and waits for the requests under way.
"""

import asyncio
import email.utils
import logging
import socket
from functools import partial
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from iam4kube.runtime.asgi import Application, Header
from iam4kube.runtime.clock import Now, utc_now
from iam4kube.runtime.http_protocol import HttpProtocol
from iam4kube.runtime.parsing import ListenAddress
from iam4kube.runtime.sockets import address_mistakes, bind

logger = logging.getLogger(__name__)

_DATE_PERIOD = 1.0  # HTTP dates have a resolution of one second
_FIRST_REQUEST_GRACE = 1.0  # an accepted connection's first request may still be on its way
_STOP_POLL = 0.02
_DISCONNECT_BOUND = 0.25
_CANCELLATION_BOUND = 1.0
_CLOSING: Header = (b"connection", b"close")


class ListenerState(ServerState):
    """What a listener's connections share; protocols get it as `server_state`."""

    connections: set[HttpToolsProtocol]  # type: ignore[assignment]  # of all of uvicorn's protocols, the one in use

    def __init__(self) -> None:
        super().__init__()
        self.draining = False
        """No connection is to be kept open any more. Every answer already says so, without a protocol's help."""


class Listener:
    """Serves one ASGI application on one address.

    `setting` is the flag that a mistake about the address names. `headers` go into every answer, after `Date`.
    `keep_alive` is how long, in seconds, a connection may stay idle.
    """

    def __init__(
        self,
        application: Application,
        address: ListenAddress,
        *,
        name: str,
        setting: str,
        protocol: type[HttpProtocol] = HttpProtocol,
        keep_alive: float = 60.0,
        headers: tuple[Header, ...] = (),
        backlog: int = 2048,
        now: Now = utc_now,
    ) -> None:
        self.name = name
        self.state = ListenerState()
        self._address = address
        self._setting = setting
        self._headers = headers
        self._backlog = backlog
        self._now = now
        self._config = _configuration(application, protocol=protocol, keep_alive=keep_alive)
        self._protocol = protocol
        self._socket: socket.socket | None = None
        self._port = 0
        self._server: asyncio.Server | None = None
        self._date_timer: asyncio.TimerHandle | None = None
        self._closing_timers: list[asyncio.TimerHandle] = []

    @property
    def open_connections(self) -> int:
        """Connections that are open now, idle ones included."""
        return len(self.state.connections)

    @property
    def running_requests(self) -> int:
        """Requests under way."""
        return len(self.state.tasks)

    @property
    def accepting(self) -> bool:
        """Whether new connections are accepted."""
        return self._server is not None

    @property
    def port(self) -> int:
        """The port it is bound to, which the kernel chose where the setting says 0; 0 before `bind`."""
        return self._port

    def bind(self) -> None:
        """Take the address, before anything else is started. Raises `SettingsError`. Clients are refused still."""
        self._bound()

    def _bound(self) -> socket.socket:
        if self._socket is None:
            self._socket = bind(self._address, setting=self._setting)
            self._port = self._socket.getsockname()[1]
        return self._socket

    async def start(self) -> None:
        """Begin to accept. Binds first where nobody has. Raises `SettingsError`."""
        bound = self._bound()
        self._config.load()
        self._renew_headers()
        connection = partial(self._protocol, config=self._config, server_state=self.state, app_state={})
        loop = asyncio.get_running_loop()
        with address_mistakes(self._address, setting=self._setting):
            self._server = await loop.create_server(connection, sock=bound, backlog=self._backlog)
        logger.info("Listening", extra={"listener": self.name, "address": str(self._address), "port": self.port})

    def drain(self, *, idle: float = 5.0, spread: float = 5.0) -> None:
        """Keep answering, but keep no connection open: answers carry `Connection: close`.

        Connections that are idle now are closed after `idle` seconds without a request, one by one over `spread`
        seconds, so that their clients do not all come back at the same moment. Calling it again changes nothing.
        """
        if self.state.draining:
            return
        self._keep_none_open()
        loop = asyncio.get_running_loop()
        resting = [connection for connection in self.state.connections if not _is_busy(connection)]
        for position, connection in enumerate(resting):
            # `shutdown` closes an idle connection, and leaves a busy one to its answer, which closes it.
            delay = idle + spread * position / len(resting)
            self._closing_timers.append(loop.call_later(delay, connection.shutdown))

    def stop_accepting(self) -> None:
        """Refuse new connections from now on. The open ones live on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def stop(self, bound: float) -> None:
        """Accept no more, let the requests under way end, and after `bound` seconds break off what is left."""
        self._keep_none_open()
        self.stop_accepting()
        loop = asyncio.get_running_loop()
        first_request_until = loop.time() + min(_FIRST_REQUEST_GRACE, bound)
        try:
            async with asyncio.timeout(bound):
                while self.state.connections or self.state.tasks:
                    self._close_idle(unused_too=loop.time() >= first_request_until)
                    await asyncio.sleep(_STOP_POLL)
        except TimeoutError:
            await self._break_off()
        finally:
            self._release()

    def _renew_headers(self) -> None:
        """Date, then the headers of every answer: uvicorn puts `default_headers` before an application's own."""
        date = email.utils.format_datetime(self._now(), usegmt=True).encode()
        closing = [_CLOSING] if self.state.draining else []
        self.state.default_headers = [(b"date", date), *self._headers, *closing]
        self._date_timer = asyncio.get_running_loop().call_later(_DATE_PERIOD, self._renew_headers)

    def _keep_none_open(self) -> None:
        """Later answers carry `Connection: close`, and so do those of the requests under way."""
        if not self.state.draining:
            self.state.draining = True
            self.state.default_headers = [*self.state.default_headers, _CLOSING]
        for connection in self.state.connections:
            if _is_busy(connection):
                connection.shutdown()

    def _close_idle(self, *, unused_too: bool) -> None:
        for connection in list(self.state.connections):
            if unused_too or _cycle(connection) is not None:
                connection.shutdown()

    async def _break_off(self) -> None:
        """Cut what has outlived its bound: clients see a reset, applications a disconnect and then a cancellation."""
        extra = {"listener": self.name, "connections": self.open_connections, "requests": self.running_requests}
        logger.warning("Breaking off what outlived the stop", extra=extra)
        for connection in list(self.state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # A request that heeds the disconnect ends in peace; for a cancelled one uvicorn logs a traceback.
        await self._requests_ended(_DISCONNECT_BOUND)
        for task in self.state.tasks:
            task.cancel()
        await self._requests_ended(_CANCELLATION_BOUND)

    async def _requests_ended(self, bound: float) -> None:
        if self.state.tasks:
            await asyncio.wait(list(self.state.tasks), timeout=bound)

    def _release(self) -> None:
        for timer in (self._date_timer, *self._closing_timers):
            if timer is not None:
                timer.cancel()
        self._closing_timers.clear()
        if self._socket is not None:
            self._socket.close()


def _cycle(connection: HttpToolsProtocol) -> RequestResponseCycle | None:
    """The connection's latest request, None before the first: uvicorn's annotation leaves that time out."""
    return connection.cycle


def _is_busy(connection: HttpToolsProtocol) -> bool:
    cycle = _cycle(connection)
    return cycle is not None and not cycle.response_complete


def _configuration(application: Application, *, protocol: type[HttpProtocol], keep_alive: float) -> uvicorn.Config:
    return uvicorn.Config(
        cast("Any", application),  # uvicorn's types name each message; ours leave them open
        http=protocol,
        loop="none",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        # True would take X-Forwarded-For from 127.0.0.1 for the client's address: the only identity there is.
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=cast("int", keep_alive),  # uvicorn only hands it to `call_later`
    )
