"""`python -m bench.bare uvicorn|socket PORT FILE [HOST]`: what the warm path is compared with, until SIGTERM.

`uvicorn` is a bare ASGI application on uvicorn, uvloop and httptools that answers every request with the same bytes:
nobody who uses uvicorn can be faster. `socket` writes the answer whenever bytes arrive, without a look at them: where
that is not much faster, it is the load generator that was measured. FILE holds an answer as it came over the wire.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any, cast

import uvicorn

from bench.client import Reply
from iam4kube.runtime.lifecycle import run, stop_on_signals

_OF_THE_SERVER = {b"date", b"connection"}


def _application(reply: Reply) -> Any:
    headers = [(name.lower(), value) for name, value in reply.headers if name.lower() not in _OF_THE_SERVER]
    start = {"type": "http.response.start", "status": reply.status, "headers": headers}
    body = {"type": "http.response.body", "body": reply.body}

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start)
        await send(body)

    return application


def _serve_with_uvicorn(reply: Reply, host: str, port: int) -> None:
    uvicorn.run(
        _application(reply),
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )


class _Answering(asyncio.Protocol):
    """Writes the answer for whatever arrives, and ends the connection if the answer says so."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._closes = b"\r\nconnection: close\r\n" in answer.lower()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, _data: bytes) -> None:
        self._transport.write(self._answer)
        if self._closes:
            self._transport.close()


async def _serve_raw(reply: Reply, host: str, port: int) -> None:
    with stop_on_signals() as stop:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: _Answering(reply.content), host, port, backlog=2048):
            await stop.wait()


def main() -> None:
    """Serve."""
    kind, port, file, *rest = sys.argv[1:]
    host = rest[0] if rest else "127.0.0.1"
    reply = Reply(Path(file).read_bytes())
    if kind == "uvicorn":
        _serve_with_uvicorn(reply, host, int(port))
    else:
        run(_serve_raw(reply, host, int(port)))


if __name__ == "__main__":
    main()
