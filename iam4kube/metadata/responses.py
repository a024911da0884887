"""Responses as they go over the wire, built once and sent often."""

from http import HTTPStatus

from iam4kube.runtime.asgi import Header, Message, Send

TTL_HEADER = b"x-aws-ec2-metadata-token-ttl-seconds"


class Response:
    """A status and a body, with the headers that EC2 sends. An error has no body: awscrt takes one for a role name.

    Some old tools look for "EC2" in `Server`.
    """

    __slots__ = ("_headers", "body", "head", "label", "status")

    def __init__(self, status: int, body: bytes = b"", *headers: Header, label: str = "") -> None:
        self.status = status
        self.label = label or str(status)
        self.body = body
        self._headers = [
            (b"content-type", b"text/plain"),
            (b"content-length", b"%d" % len(body)),
            (b"server", b"EC2ws"),
            *headers,
        ]
        phrase = HTTPStatus(status).phrase.encode()
        self.head = b"HTTP/1.1 %d %b\r\n%b" % (status, phrase, render_headers(self._headers))
        """Status line and headers as bytes, without the empty line."""

    async def send(self, send: Send, *, ttl: bytes | None) -> None:
        """Send it as ASGI messages, and echo the token's time to live if there was one."""
        headers = self._headers if ttl is None else [*self._headers, (TTL_HEADER, ttl)]
        start: Message = {"type": "http.response.start", "status": self.status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


def render_headers(headers: list[Header]) -> bytes:
    """Headers as bytes, without the empty line."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


BAD_REQUEST = Response(400)
UNAUTHORIZED = Response(401)
FORBIDDEN = Response(403)
NOT_FOUND = Response(404)
METHOD_NOT_ALLOWED = Response(405, b"", (b"allow", b"PUT"))
UNAVAILABLE = Response(503)
CLOSE = Response(503, label="closed")
"""Never sent: the connection is closed instead."""
