"""A world for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.world import World


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """An empty cluster of one node, and an STS that trusts everybody."""
    async with World(tmp_path) as world:
        yield world
