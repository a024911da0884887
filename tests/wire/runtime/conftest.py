"""Listeners on loopback, and connections to them."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from iam4kube.runtime.asgi import Application, text_response
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.parsing import ListenAddress
from tests.support.listening import LOOPBACK, Client, Connect, Start


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    """Start a listener with "hello" or another application; it is stopped at the end."""
    listeners: list[Listener] = []

    async def start(
        application: Application | None = None, address: ListenAddress = LOOPBACK, **more: object
    ) -> Listener:
        application = application or text_response(200, "hello")
        listener = Listener(application, address, name="test", setting="--listen", **more)  # type: ignore[arg-type]  # as given
        listeners.append(listener)
        await listener.start()
        return listener

    yield start
    for listener in listeners:
        await listener.stop(0)


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connect to a listener; the connection is closed at the end."""
    clients: list[Client] = []

    async def connect(listener: Listener, host: str = "127.0.0.1") -> Client:
        client = Client(*await asyncio.open_connection(host, listener.port))
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client.close()
