"""A laboratory for each test."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.node_lab import NodeLab


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[NodeLab]:
    """Pods a, b and c; servers one and two; no rules at all."""
    async with NodeLab() as lab:
        yield lab
