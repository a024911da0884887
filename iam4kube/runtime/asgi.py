"""ASGI's types, and the plain responses that both programs send."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]


class PlainResponse:
    """A whole response, built once and sent as often as one likes: servers do not change the messages.

    It is an ASGI application itself. A HEAD request gets the same headers; the server leaves the body out.
    """

    __slots__ = ("_body", "_start", "status")

    def __init__(self, status: int, body: bytes = b"", *, headers: Iterable[Header] = ()) -> None:
        self.status = status
        self._start: Message = {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
        }
        self._body: Message = {"type": "http.response.body", "body": body}

    async def send(self, send: Send) -> None:
        """Send headers and body."""
        await send(self._start)
        await send(self._body)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer any request."""
        await self.send(send)


def text_response(status: int, text: str) -> PlainResponse:
    """A response in plain text, for people and probes."""
    return PlainResponse(status, text.encode(), headers=((b"content-type", b"text/plain; charset=utf-8"),))
