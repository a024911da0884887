"""The ASGI application by itself, in virtual time, over lookups that do as they are told."""

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from iam4kube.identity.outcomes import Reason, Unavailable
from iam4kube.kube.objects import Address
from iam4kube.metadata.application import CLOSE_EXTENSION, Application
from iam4kube.metadata.authentication import Authenticator, TokenPolicy
from iam4kube.metadata.keyring import new_keyring
from iam4kube.metadata.limits import WaitingLimits
from iam4kube.metadata.lookup import Answer, Place
from iam4kube.metadata.metrics import MetadataMetrics
from iam4kube.metadata.tokens import Tokens
from iam4kube.metadata.waiting import WaitingRoom
from iam4kube.runtime.asgi import Message, Scope
from tests.support.metadata import ROLES, START, Clock

pytestmark = pytest.mark.looptime

LATE = Unavailable(Reason.UNKNOWN_ADDRESS)


class SlowLookups:
    """Knows nothing at once, and says `LATE` at the deadline, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.cancelled = 0
        self.asked: list[tuple[Address, float]] = []

    def peek(self, address: Address) -> Answer | None:
        return None

    def peek_place(self, address: Address) -> Place | None:
        return None

    async def answer(self, address: Address, *, deadline: float) -> Answer:
        return await self._late(address, deadline)

    async def place(self, address: Address, *, deadline: float) -> Place:
        return await self._late(address, deadline)

    async def _late(self, address: Address, deadline: float) -> Unavailable:
        self.asked.append((address, deadline))
        try:
            await asyncio.sleep(deadline - asyncio.get_running_loop().time())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        return LATE


class Exchange:
    """One request to an application, as a server would make it, and what came of it."""

    def __init__(
        self,
        application: Application,
        path: str,
        *,
        client: tuple[str, int] | None = ("10.0.0.1", 1),
        deaf: bool = False,
    ) -> None:
        self.deaf = deaf
        """Whether it never says that its connection has gone."""
        self.sent: list[Message] = []
        self.closed = False
        self._gone = asyncio.Event()
        scope: Scope = {
            "type": "http",
            "method": "GET",
            "raw_path": path.encode(),
            "headers": [],
            "client": client,
            "extensions": {CLOSE_EXTENSION: self._close},
        }
        self.task = asyncio.create_task(application(scope, self._receive, self._send))

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    def hang_up(self) -> None:
        self._gone.set()

    def _close(self) -> None:
        self.closed = True
        if not self.deaf:
            self._gone.set()

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


class Parts:
    """An application and what it stands on."""

    def __init__(self, lookups: SlowLookups) -> None:
        self.lookups = lookups
        self.registry = CollectorRegistry()
        self.waiting = WaitingRoom(WaitingLimits(total=3, per_source=2))
        metrics = MetadataMetrics(self.registry)
        tokens = Tokens(new_keyring(now=START), now=Clock())
        self.application = Application(
            lookups=lookups,
            authenticator=Authenticator(tokens, policy=TokenPolicy.OPTIONAL, refused=metrics.refused),
            waiting=self.waiting,
            metrics=metrics,
            request_deadline=15.0,
        )

    def ask(self, path: str = ROLES, address: str = "10.0.0.1", *, deaf: bool = False) -> Exchange:
        return Exchange(self.application, path, client=(address, 1), deaf=deaf)


@pytest.mark.parametrize("path", [ROLES, "/latest/meta-data/placement/region"])
async def test_a_request_is_told_at_its_deadline(path: str) -> None:
    """Fifteen seconds after it came, in the deadline that the lookup is given."""
    parts = Parts(SlowLookups())
    await asyncio.sleep(100)
    exchange = parts.ask(path)
    await exchange.task

    assert (exchange.status, asyncio.get_running_loop().time()) == (503, 115.0)
    assert parts.lookups.asked == [("10.0.0.1", 115.0)]
    assert parts.registry.get_sample_value(
        "iam4kube_metadata_slow_answers_total", {"route": "role_list" if path == ROLES else "region"}
    )


async def test_credentials_end_in_a_closed_connection() -> None:
    """Nothing is sent, and the application stays until the connection is closed."""
    exchange = Parts(SlowLookups()).ask(ROLES + "orders")
    await exchange.task

    assert (exchange.sent, exchange.closed) == ([], True)


async def test_a_closed_connection_is_not_waited_for_without_end(caplog: pytest.LogCaptureFixture) -> None:
    """Its seat is given back by then, so nothing else would bound how many stay."""
    exchange = Parts(SlowLookups()).ask(ROLES + "orders", deaf=True)
    await exchange.task

    assert (exchange.sent, exchange.closed) == ([], True)
    assert asyncio.get_running_loop().time() == 20.0
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_client_that_hangs_up_ends_the_wait() -> None:
    """At that moment, and nothing is sent to nobody."""
    parts = Parts(SlowLookups())
    exchange = parts.ask()
    await asyncio.sleep(2)
    exchange.hang_up()
    await exchange.task

    assert (asyncio.get_running_loop().time(), exchange.sent, exchange.closed) == (2.0, [], False)
    assert (parts.lookups.cancelled, len(parts.waiting)) == (1, 0)


async def test_a_cancelled_request_leaves_nothing() -> None:
    """The server breaks off what outlives its stop."""
    parts = Parts(SlowLookups())
    exchange = parts.ask()
    await asyncio.sleep(2)
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.task

    assert (parts.lookups.cancelled, len(parts.waiting)) == (1, 0)


async def test_waiting_is_bounded_by_source_and_in_total() -> None:
    """Two of one address, three of all."""
    parts = Parts(SlowLookups())
    first = [parts.ask() for _ in range(3)]
    others = [parts.ask(address="10.0.0.2") for _ in range(2)]
    await asyncio.sleep(1)

    assert [exchange.status for exchange in [*first, *others]] == [None, None, 503, None, 503]
    assert len(parts.waiting) == 3
    await asyncio.sleep(20)
    assert len(parts.waiting) == 0


async def test_a_failing_lookup_is_503(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback in the log, and no body."""
    exchange = Parts(SlowLookups(RuntimeError("a defect"))).ask()
    await exchange.task

    assert (exchange.status, exchange.sent[1]["body"]) == (503, b"")
    assert caplog.records[-1].exc_info is not None


@pytest.mark.parametrize("client", [None, ("fe80::1%eth0", 1)])
async def test_without_an_address_the_connection_is_closed(client: tuple[str, int] | None) -> None:
    """The peer has gone already, or has an address that no pod can have."""
    exchange = Exchange(Parts(SlowLookups()).application, ROLES, client=client)
    await exchange.task

    assert (exchange.sent, exchange.closed) == ([], True)
