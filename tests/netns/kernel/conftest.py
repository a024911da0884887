"""A network namespace of its own for each test, and the kernel package inside it."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from iam4kube.sandbox.network import Namespace
from ip2service.kernel.netlink import Netlink
from ip2service.kernel.nft import NfTables


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """Empty but for its loopback link."""
    with Namespace() as namespace:
        yield namespace


@pytest_asyncio.fixture
async def tables(namespace: Namespace) -> AsyncIterator[NfTables]:
    """The namespace's nftables."""
    async with NfTables(enter=namespace.enter) as tables:
        yield tables


@pytest_asyncio.fixture
async def netlink(namespace: Namespace) -> AsyncIterator[Netlink]:
    """What pyroute2 runs in, inside the namespace."""
    async with Netlink(enter=namespace.enter) as netlink:
        yield netlink
