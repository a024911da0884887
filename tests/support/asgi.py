"""Calls an ASGI application without a server: virtual time needs no sockets."""

import json
from dataclasses import dataclass
from typing import Any

from iam4kube.runtime.asgi import Application, Message


@dataclass(frozen=True)
class Answered:
    """One whole response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def call(application: Application, path: str, *, method: str = "GET") -> Answered:
    """Send one request and collect the response."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 9090),
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await application(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answered(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))
