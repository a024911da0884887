"""Answers for people and probes: short, never cached, JSON that can be read as it is."""

import msgspec
from fastapi import Response

# A balancer or a browser that keeps an old "serving" sends requests to a replica that is gone.
_NO_STORE = {"cache-control": "no-store"}


def as_text(status: int, text: str) -> Response:
    """One line of text."""
    return Response(text, status_code=status, media_type="text/plain", headers=_NO_STORE)


def as_json(status: int, value: object) -> Response:
    """Indented JSON. An infinite number, such as the age of a watch that never spoke, is null."""
    content = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return Response(content, status_code=status, media_type="application/json", headers=_NO_STORE)
