"""Where the listener listens, and what it says of addresses that it cannot have."""

import errno
import socket

import pytest

from iam4kube.runtime.asgi import Receive, Scope, Send, text_response
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.parsing import ListenAddress
from iam4kube.runtime.settings import SettingsError
from iam4kube.runtime.sockets import bind
from tests.support.listening import LOOPBACK, Connect, Start

pytestmark = pytest.mark.looptime  # both ends are in this process: time stands still while bytes are on the way


async def test_every_address_is_ipv4_and_ipv6(start: Start, connect: Connect) -> None:
    """One socket for both, so that IPv4 peers appear as IPv4-mapped."""
    peers: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        peers.append(scope["client"][0])
        await text_response(200, "")(scope, receive, send)

    listener = await start(note, ListenAddress("", 0))
    await (await connect(listener)).ask()
    if socket.has_dualstack_ipv6():
        await (await connect(listener, "::1")).ask()
        assert peers == ["::ffff:127.0.0.1", "::1"]
    else:
        assert peers == ["127.0.0.1"]


async def test_before_the_start_clients_are_refused(connect: Connect) -> None:
    """Bound early, so that a mistake shows early; listening late, so that nobody waits for a server that may fail."""
    listener = Listener(text_response(200, ""), LOOPBACK, name="test", setting="--listen")
    listener.bind()
    assert listener.port > 0
    assert not listener.accepting
    with pytest.raises(ConnectionRefusedError):
        await connect(listener)
    await listener.stop(0)


async def test_a_port_in_use_is_one_line_that_names_the_setting() -> None:
    """The commonest mistake at start."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        listener = Listener(text_response(200, ""), ListenAddress("127.0.0.1", port), name="test", setting="--listen")
        with pytest.raises(SettingsError) as mistake:
            listener.bind()
    expected = f"--listen is '127.0.0.1:{port}': another process listens there; stop it or choose another port"
    assert mistake.value.mistakes == (expected,)


async def test_a_port_taken_between_binding_and_listening_is_the_same_line() -> None:
    """Linux lets two sockets bind one port, and refuses the second one that listens."""
    first = bind(LOOPBACK, setting="--listen")
    address = ListenAddress("127.0.0.1", first.getsockname()[1])
    listener = Listener(text_response(200, ""), address, name="test", setting="--listen")
    listener.bind()
    with first:
        first.listen()
        with pytest.raises(SettingsError, match="another process listens there"):
            await listener.start()
    await listener.stop(0)


def test_an_address_of_another_machine_is_one_line_that_names_the_setting() -> None:
    """192.0.2.1 is reserved for documentation: nobody has it."""
    with pytest.raises(SettingsError, match=r"^--admin-listen is '192\.0\.2\.1:0': this machine has no such address"):
        bind(ListenAddress("192.0.2.1", 0), setting="--admin-listen")


@pytest.mark.parametrize("reason", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_every_address_is_ipv4_where_there_is_no_ipv6(reason: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some nodes run without it."""

    class WithoutIpv6(socket.socket):
        def bind(self, address: object) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(reason, "no IPv6 here")
            super().bind(address)  # type: ignore[arg-type]  # whatever was given

    monkeypatch.setattr(socket, "socket", WithoutIpv6)
    with bind(ListenAddress("", 0), setting="--listen") as bound:
        assert bound.getsockname()[0] == "0.0.0.0"
