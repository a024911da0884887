"""Bearer tokens: who may ask, and until when."""

import asyncio
import secrets
from math import inf


class Tokens:
    """The tokens that the API server accepts now. Any other, or none, is answered with 401."""

    def __init__(self) -> None:
        self._valid_until: dict[str, float] = {}

    def issue(self, *, lifetime: float = inf) -> str:
        """A new token, valid for so many seconds of the running event loop."""
        token = secrets.token_urlsafe(24)
        until = inf if lifetime == inf else asyncio.get_running_loop().time() + lifetime
        self._valid_until[token] = until
        return token

    def revoke(self, token: str) -> None:
        """Accept it no more."""
        self._valid_until.pop(token, None)

    def accepts(self, authorization: str) -> bool:
        """Whether the value of an `Authorization` header lets its sender in."""
        scheme, _, token = authorization.partition(" ")
        until = self._valid_until.get(token, -inf)
        return scheme.lower() == "bearer" and until > asyncio.get_running_loop().time()
