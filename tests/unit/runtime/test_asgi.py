"""Plain responses: built once, sent often."""

from iam4kube.runtime.asgi import Message, PlainResponse, text_response


async def messages_of(response: PlainResponse) -> list[Message]:
    """What it sends."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await response.send(send)
    return sent


async def test_an_empty_response_has_a_length_of_zero() -> None:
    """Without it, the server would send an empty body in chunks."""
    assert await messages_of(PlainResponse(404)) == [
        {"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]},
        {"type": "http.response.body", "body": b""},
    ]


async def test_a_text_counts_bytes_and_can_be_sent_again() -> None:
    """The same each time."""
    response = text_response(503, "größer\n")
    expected = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"9")]
    for _ in range(2):
        start, body = await messages_of(response)
        assert start["headers"] == expected
        assert body["body"] == "größer\n".encode()
