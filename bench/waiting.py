"""Waiting for processes of a measurement."""

import asyncio

from bench.client import connected

_POLL_SECONDS = 0.02


async def until_listening(port: int, *, seconds: float = 20.0) -> None:
    """Return once somebody accepts connections there. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                (await connected("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return
