"""Loopback pods: processes that ask the metadata API from an address of their own, with their SDK unmodified.

Whatever a client on loopback connects to, its source is 127.0.0.1. So each pod has a forwarder: the pod's process
is told (by AWS's own variable) that the metadata service is at the forwarder's port, and the forwarder connects on
from the pod's address, any of 127.0.0.0/8, which needs no rights. It is the router's part, without a kernel's help.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from types import TracebackType
from typing import Self

_LOOPBACK = ip_network("127.0.0.0/8")
_CHUNK = 64 * 1024
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")


class LoopbackPod:
    """One pod's way to the metadata API. Use it with `async with`.

    `server` is where the API listens, host and port; it may be set anew at any time, and later connections go
    there. A server that refuses or resets a connection is seen by the pod as just that.
    """

    def __init__(self, address: str, *, server: tuple[str, int]) -> None:
        if ip_address(address) not in _LOOPBACK:
            raise ValueError(f"a loopback pod's address must be in {_LOOPBACK}, not {address}")
        self.address = address
        self.server = server
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._listener is not None:
            self._listener.close()
        connections = self.cut()
        await asyncio.gather(*connections, return_exceptions=True)

    @property
    def endpoint(self) -> str:
        """The metadata service's URL as this pod sees it."""
        if self._listener is None:
            raise RuntimeError("the pod has not been started")
        host, port = self._listener.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def cut(self) -> list[asyncio.Task[None]]:
        """End every connection under way, and return what ends with them. New ones are forwarded as before."""
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        return connections

    def environment(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a process in this pod: of AWS only the metadata endpoint, no proxies; and `variables`."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        own = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.endpoint,
            # Files of whoever runs this must not come before the metadata service in the SDK's chain.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        return {**kept, **own, **(variables or {})}

    async def run(
        self, *command: str, variables: Mapping[str, str] | None = None, deadline: float = 30.0
    ) -> tuple[int, str]:
        """Run a command in this pod; returns its exit code and output (both streams). `deadline` is in seconds.

        Raises `TimeoutError` after killing it.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            env=self.environment(variables),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(deadline):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode(errors="replace")

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._forward(reader, writer), name=f"pod {self.address}")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self.server, local_addr=(self.address, 0))
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pipe(reader, back))
                both.create_task(_pipe(there, writer))
        except* OSError:  # a reset on one side becomes one on the other
            writer.transport.abort()
            back.transport.abort()
        finally:
            writer.close()
            back.close()


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        sink.write(chunk)
        await sink.drain()
    with suppress(OSError):
        sink.write_eof()
