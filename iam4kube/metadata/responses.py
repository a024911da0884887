"""Responses as they go over the wire, built once and sent often."""

from iam4kube.runtime.asgi import Header, Message, Send

TTL_HEADER = b"x-aws-ec2-metadata-token-ttl-seconds"


class Response:
    """A status and a body, with the headers that EC2 sends. An error has no body: awscrt takes one for a role name.

    Some old tools look for "EC2" in `Server`.
    """

    __slots__ = ("_body", "_headers", "label", "status")

    def __init__(self, status: int, body: bytes = b"", *headers: Header) -> None:
        self.status = status
        self.label = str(status)
        self._headers = [
            (b"content-type", b"text/plain"),
            (b"content-length", b"%d" % len(body)),
            (b"server", b"EC2ws"),
            *headers,
        ]
        self._body: Message = {"type": "http.response.body", "body": body}

    async def send(self, send: Send, *, ttl: bytes | None) -> None:
        """Send it, and echo the token's time to live if there was one."""
        headers = self._headers if ttl is None else [*self._headers, (TTL_HEADER, ttl)]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send(self._body)


BAD_REQUEST = Response(400)
UNAUTHORIZED = Response(401)
FORBIDDEN = Response(403)
NOT_FOUND = Response(404)
METHOD_NOT_ALLOWED = Response(405, b"", (b"allow", b"PUT"))
UNAVAILABLE = Response(503)
