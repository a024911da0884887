"""A laboratory for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ip2service.layout import Mode
from tests.support.node_lab import NodeLab
from tests.support.router_lab import RouterLab


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[NodeLab]:
    """Pods a, b and c; servers one and two; no rules at all."""
    async with NodeLab() as lab:
        yield lab


@pytest_asyncio.fixture(params=list(Mode), ids=[mode.value for mode in Mode])
async def routed(lab: NodeLab, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[RouterLab]:
    """The laboratory with a cluster for the router, in each mode; no Service yet."""
    async with RouterLab(lab, request.param, folder=tmp_path) as routed:
        yield routed


@pytest_asyncio.fixture
async def routed_to_endpoints(lab: NodeLab, tmp_path: Path) -> AsyncIterator[RouterLab]:
    """The same in endpoints mode only, which needs no kube-proxy."""
    async with RouterLab(lab, Mode.ENDPOINTS, folder=tmp_path) as routed:
        yield routed


@pytest_asyncio.fixture
async def routed_to_service(lab: NodeLab, tmp_path: Path) -> AsyncIterator[RouterLab]:
    """The same in service mode only."""
    async with RouterLab(lab, Mode.SERVICE, folder=tmp_path) as routed:
        yield routed
