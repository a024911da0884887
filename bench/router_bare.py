"""A bare application in a network namespace: the server whose connections the rules are measured with."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.processes import last_words, process
from iam4kube.sandbox.network import Host
from tests.support.node_lab import SERVER_PORT

_BODY = b'{"Code":"Success","Type":"AWS-HMAC","Token":"%b"}' % (b"t" * 900)
_READY_SECONDS = 20.0
_POLL_SECONDS = 0.02


@asynccontextmanager
async def bare(
    kind: str, host: Host, folder: Path, *, core: int, port: int = SERVER_PORT, closing: bool = False
) -> AsyncIterator[None]:
    """`uvicorn` or `socket` (see `bench.bare`) on a port of all the host's IPv4 addresses, within the block.

    `closing`: the answer says that the connection ends with it, which a bare socket goes by.
    """
    name = f"{host.name}-{port}"
    answer, log = folder / f"{name}.answer", folder / f"{name}.log"
    answer.write_bytes(_answer(closing=closing))
    arguments = ["bench.bare", kind, str(port), str(answer), "0.0.0.0"]
    async with process(arguments, core=core, log=log, namespace=host.namespace) as child:
        async with asyncio.timeout(_READY_SECONDS):
            while not await _listens(host, port):
                if child.returncode is not None:
                    raise RuntimeError(f"the bare application has ended: {last_words(log)}")
                await asyncio.sleep(_POLL_SECONDS)
        yield


async def _listens(host: Host, port: int) -> bool:
    with host.namespace.socket(socket.AF_INET) as probe:
        try:
            await asyncio.get_running_loop().sock_connect(probe, (host.ipv4, port))
        except ConnectionRefusedError:
            return False
    return True


def _answer(*, closing: bool) -> bytes:
    """As long as one with credentials."""
    ending = b"Connection: close\r\n" if closing else b""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%bContent-Length: %d\r\n\r\n" % (ending, len(_BODY))
    return head + _BODY
