"""How somebody in a namespace asks an address, and what came of it: for TCP, UDP and ICMP echo."""

import asyncio
import errno
import socket
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from iam4kube.sandbox.network import Namespace

_ECHO_REQUEST = {4: 8, 6: 128}
_REFUSED = {errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE}


class Result(StrEnum):
    """What came of asking."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """A TCP reset, or ICMP's port unreachable: the client knows at once."""
    UNREACHABLE = "unreachable"
    """Another of ICMP's errors, or no route: the client knows at once."""
    TIMEOUT = "timeout"
    """Nothing came."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Asking and its end."""

    result: Result
    seconds: float
    """From asking to its end."""
    by: str | None = None
    """The name of who answered. ICMP echo replies carry none."""
    source: str | None = None
    """The asker's address as who answered saw it."""
    error: str | None = None
    """The error's name, such as ECONNREFUSED."""

    @property
    def refused(self) -> bool:
        """Whether the client was told at once that there is nobody, in whatever way."""
        return self.result in (Result.REFUSED, Result.UNREACHABLE)


class Connection:
    """A TCP connection that is kept. Use it with `contextlib.closing`, or close it."""

    def __init__(self, connected: socket.socket, *, timeout: float) -> None:
        self._socket = connected
        self._timeout = timeout
        self._greeted = False

    @property
    def local_port(self) -> int:
        """The client's port."""
        return int(self._socket.getsockname()[1])

    async def ask(self) -> Outcome:
        """Send a line (but not the first time: then there is an answer already) and wait for an answer."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._timeout):
                return _answered(await self._exchange(), began)
        except (OSError, EOFError) as error:
            return _failed(error, began)

    async def _exchange(self) -> bytes:
        loop = asyncio.get_running_loop()
        if self._greeted:
            await loop.sock_sendall(self._socket, b"who\n")
        self._greeted = True
        if answer := await loop.sock_recv(self._socket, 200):
            return answer
        raise EOFError

    def close(self) -> None:
        """Close it."""
        self._socket.close()


async def open_connection(namespace: Namespace, address: str, port: int, *, timeout: float) -> Connection | Outcome:
    """A connection, or what came instead of one."""
    made, began = namespace.socket(family_of(address)), asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(made, (address, port))
    except OSError as error:
        made.close()
        return _failed(error, began)
    return Connection(made, timeout=timeout)


async def ask_udp(namespace: Namespace, address: str, port: int, *, timeout: float) -> Outcome:
    """Send one datagram and wait for an answer."""
    made = namespace.socket(family_of(address), socket.SOCK_DGRAM)
    return await _ask(made, (address, port), b"who\n", timeout=timeout)


async def ping(namespace: Namespace, address: str, *, timeout: float) -> Outcome:
    """Send one ICMP echo request and wait for the reply."""
    namespace.set_parameter(
        "ipv4.ping_group_range", "0 0"
    )  # for both families: the kernel fills in identifier and checksum
    version = ip_address(address).version
    protocol = socket.IPPROTO_ICMPV6 if version == 6 else socket.IPPROTO_ICMP
    made = namespace.socket(family_of(address), socket.SOCK_DGRAM, protocol)
    return await _ask(made, (address, 0), bytes((_ECHO_REQUEST[version], *(0,) * 7)), timeout=timeout)


async def _ask(made: socket.socket, target: tuple[str, int], request: bytes, *, timeout: float) -> Outcome:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with made:
        try:
            async with asyncio.timeout(timeout):
                made.connect(target)  # so that the kernel hands over ICMP's errors
                await loop.sock_sendall(made, request)
                return _answered(await loop.sock_recv(made, 200), began)
        except OSError as error:
            return _failed(error, began)


def _answered(answer: bytes, began: float) -> Outcome:
    seconds = asyncio.get_running_loop().time() - began
    if answer.endswith(b"\n"):
        by, source = answer.decode().splitlines()[0].split(" ")
        return Outcome(result=Result.ANSWERED, seconds=seconds, by=by, source=source)
    return Outcome(result=Result.ANSWERED, seconds=seconds)


def _failed(error: OSError | EOFError, began: float) -> Outcome:
    seconds = asyncio.get_running_loop().time() - began
    if isinstance(error, TimeoutError) and error.errno is None:
        return Outcome(result=Result.TIMEOUT, seconds=seconds)
    number = error.errno if isinstance(error, OSError) else errno.ECONNRESET
    result = Result.REFUSED if number in _REFUSED else Result.UNREACHABLE
    return Outcome(result=result, seconds=seconds, error=errno.errorcode.get(number or 0))


def family_of(address: str) -> int:
    """The socket family of an address."""
    return socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
