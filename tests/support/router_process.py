"""The real router as a process in a laboratory's node.

    flags = ("--mode=endpoints",)
    async with RouterProcess(lab, *flags, kubeconfig=kubeconfig, node=name, namespace=cluster.namespace) as router:
        await router.until_ready()
        assert (await lab.pod("a").connect(METADATA_IPV4, 80)).by == "one"
        await router.kill()  # as `kill -9`; the rules stay
        await router.start()

It reaches an API server through `lab.relay(port)`. Everything waits for a bounded time.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.support.commands import Ended, run_to_end
from tests.support.logging_process import LoggingProcess
from tests.support.node_lab import LabHost, NodeLab
from tests.support.waiting import eventually

SERVICE = "iam4kube"
"""The Service's name."""
ROUTER_PORT = 8169
ADMIN_PORT = 9169
"""The admin port, as in a cluster: each lab's node has all ports to itself."""

_KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR")
_SECONDS = 15.0  # under two on an idle machine


class Answer(NamedTuple):
    """What the admin port said."""

    status: int
    text: str


class RouterProcess(LoggingProcess):
    """`ip2service run`. Use it with `async with`; killed at the end, if it still runs. Its rules stay in the node."""

    def __init__(
        self,
        lab: NodeLab,
        *flags: str,
        kubeconfig: Path,
        node: str,
        namespace: str,
        wrapper: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`namespace` is the Service's; `wrapper` is a command line to run it under, such as setpriv's.

        `environ` is added to its environment.
        """
        super().__init__("the router", seconds_to_end=_SECONDS)
        self._host = lab.node
        self._wrapper = wrapper
        self._environ = environ or {}
        self._flags = (
            f"--kubeconfig={kubeconfig}",
            f"--node-name={node}",
            f"--service-namespace={namespace}",
            f"--service-name={SERVICE}",
            f"--router-port={ROUTER_PORT}",
            "--log-format=json",
            *flags,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.kill()

    @property
    def pid(self) -> int:
        """The process' id."""
        return self._running.pid

    async def start(self) -> None:
        """Start the process, whose log begins anew. It is not ready yet."""
        assert self._process is None, "it runs already"
        process = await asyncio.create_subprocess_exec(
            *self._host.namespace.command(*self._wrapper, sys.executable, "-m", "ip2service", "run", *self._flags),
            env={**environment(), **self._environ},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        self.follow(process)

    async def terminate(self) -> int:
        """SIGTERM, and wait for its end. Returns its exit code."""
        self._running.send_signal(signal.SIGTERM)
        return await self.exit_code()

    async def restart(self) -> None:
        """SIGKILL, and start it again."""
        await self.kill()
        await self.start()

    async def until_logged(self, message: str, *, seconds: float = _SECONDS, **fields: object) -> dict[str, Any]:
        """Wait for a line, and return the first. Raises as `until`, with the log."""
        try:
            await self.until(lambda: self.logged(message, **fields), seconds=seconds)
        except TimeoutError:
            raise TimeoutError(f"no {message!r} {fields} in:\n" + "\n".join(self.output)) from None
        return self.logged(message, **fields)[0]

    async def until_ready(self, *, seconds: float = _SECONDS) -> None:
        """Wait until /readyz says so, up to half a second before the log. Raises as `until`, with what is missing."""
        try:
            await eventually(self._is_ready, seconds=seconds)
        except TimeoutError:
            raise TimeoutError("\n".join((*self.output, await self._readiness()))) from None

    async def ask(self, path: str) -> Answer:
        """Ask the admin port, from the node. Raises `OSError` while nobody listens, `TimeoutError`."""
        loop, chunks = asyncio.get_running_loop(), []
        async with asyncio.timeout(_SECONDS):
            with self._host.namespace.socket(socket.AF_INET) as connection:
                await loop.sock_connect(connection, ("127.0.0.1", ADMIN_PORT))
                request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                await loop.sock_sendall(connection, request.encode())
                while chunk := await loop.sock_recv(connection, 65536):
                    chunks.append(chunk)
        head, _, body = b"".join(chunks).decode().partition("\r\n\r\n")
        return Answer(int(head.split(" ")[1]), body)

    async def metric(self, name: str) -> float:
        """The value of a metric, with its labels as they stand on the page; 0 where it is not there."""
        page = (await self.ask("/metrics")).text
        return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.rpartition(" ")[0] == name)

    async def until_metric(self, name: str, value: float, *, seconds: float = _SECONDS) -> None:
        """Wait until a metric has a value. Raises `TimeoutError`."""

        async def has_it() -> bool:
            try:
                return await self.metric(name) == value
            except OSError:  # it does not listen yet
                return False

        await eventually(has_it, seconds=seconds)

    async def _is_ready(self) -> bool:
        self.raise_if_ended()
        try:
            return (await self.ask("/readyz")).status == 200
        except OSError:  # it does not listen yet
            return False

    async def _readiness(self) -> str:
        try:
            return (await self.ask("/readyz")).text
        except OSError as error:
            return str(error)


async def run_command(host: LabHost, *arguments: str, wrapper: Sequence[str] = ()) -> Ended:
    """Run `ip2service` with these arguments in a node to its end. Raises `TimeoutError`."""
    command = host.namespace.command(*wrapper, sys.executable, "-m", "ip2service", *arguments)
    return await run_to_end(*command, environment=environment(), seconds=_SECONDS)


def environment() -> dict[str, str]:
    """A router's environment: nothing of whoever runs the tests but where programs are."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}
