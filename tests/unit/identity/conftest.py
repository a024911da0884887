"""The cluster that the tests of the chain ask about."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.cluster import Cluster, account, node


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A synced cluster of one node and one annotated ServiceAccount."""
    made = Cluster()
    made.sync()
    made.deliver(node("node-1", "192.168.0.1"), account())
    reads = asyncio.create_task(made.directory.confirmations.run())
    await asyncio.sleep(0)
    yield made
    reads.cancel()
    await asyncio.gather(reads, return_exceptions=True)
