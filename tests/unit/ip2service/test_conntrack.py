"""Connection tracking that changes while it is read, told by a kernel that is a list of messages."""

import socket
import struct
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from iam4kube.kube.objects import Address
from ip2service.kernel import conntrack_messages
from ip2service.kernel.conntrack import ConnectionTracking
from ip2service.kernel.netlink import Netlink, NetlinkRefused
from ip2service.layout import Family

INTERRUPTED = 0x10  # NLM_F_DUMP_INTR, linux/netlink.h
DUMP, DONE = 0x101, 3  # IPCTNL_MSG_CT_GET, NLMSG_DONE


@dataclass
class Kernel:
    """In the place of a socket: each dump is empty, and as many of them as it is told are interrupted."""

    interrupted: int
    dumps: int = 0
    waiting: list[bytes] = field(default_factory=list)

    def send(self, message: bytes) -> None:
        assert struct.unpack_from("=LH", message)[1] == DUMP
        self.dumps += 1
        flags = INTERRUPTED if self.dumps <= self.interrupted else 0
        self.waiting.append(struct.pack("=LHHLLl", 20, DONE, flags, 0, 0, 0))

    def recv(self, _size: int) -> bytes:
        return self.waiting.pop(0)

    def settimeout(self, _seconds: float) -> None:
        """Nothing is waited for."""

    def close(self) -> None:
        """There is nothing to close."""


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Every socket of connection tracking."""
    kernel = Kernel(interrupted=0)
    module = SimpleNamespace(**{**vars(socket), "socket": lambda *_: kernel})
    monkeypatch.setattr(conntrack_messages, "socket", module)
    return kernel


async def forget() -> int:
    """Of IPv4, everything."""
    async with Netlink() as netlink:
        frontends = {Family.IPV4: Address("192.0.0.8")}
        return await ConnectionTracking(netlink).forget(frontends=frontends, port=8169, keep=())


async def test_a_reading_that_was_interrupted_is_repeated(kernel: Kernel) -> None:
    """The kernel may have passed over entries: connections to a server that is gone."""
    kernel.interrupted = 2
    assert await forget() == 0
    assert kernel.dumps == 3


async def test_a_reading_that_is_interrupted_again_and_again_is_left_for_later(kernel: Kernel) -> None:
    """Whoever asked tries again, with a back-off."""
    kernel.interrupted = 100
    with pytest.raises(NetlinkRefused, match="connections cannot be forgotten: Interrupted"):
        await forget()
    assert kernel.dumps == 3


@pytest.mark.parametrize("error", [TimeoutError(), OSError()])
async def test_a_refusal_without_words_is_told_by_its_kind(error: OSError) -> None:
    """A socket that nobody answers says nothing."""

    def job() -> None:
        raise error

    async with Netlink() as netlink:
        with pytest.raises(NetlinkRefused, match=f"^rules cannot be read: {type(error).__name__}$"):
            await netlink.run("rules cannot be read", job)
