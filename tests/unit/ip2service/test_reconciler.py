"""When the kernel is written, looked at and repaired: in virtual time, with rules that note what is asked of them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from iam4kube.kube.objects import Address
from iam4kube.runtime.backoff import Backoff, full_jitter
from ip2service.differences import Drift
from ip2service.kernel_protocols import KernelError, Snapshot, Verification
from ip2service.layout import Contents, Family, Route
from ip2service.reconciler import DRIFT_PAUSE, NOTICE_PAUSE, RENEWAL_PERIOD, Reconciler

pytestmark = pytest.mark.looptime

VERIFY = 30.0
NOTHING = Snapshot(tables={}, policy=frozenset())
DRIFT = Drift("table", "ip2service", "the table is gone")


def to(address: str) -> Contents:
    """IPv4 routed to this cluster IP."""
    return Contents(routes={Family.IPV4: Route(frontend=Address(address), gate=True)})


@dataclass
class NotedRules:
    """Rules that take so long for everything, fail while they are told to, and note each call with its time."""

    seconds: float = 0.0
    broken: bool = False
    policy_stuck: bool = False
    drifts: list[tuple[Drift, ...]] = field(default_factory=list)
    calls: list[tuple[float, str]] = field(default_factory=list)
    contents: list[Contents] = field(default_factory=list)

    async def _call(self, what: str) -> None:
        self.calls.append((asyncio.get_running_loop().time(), what))
        await asyncio.sleep(self.seconds)
        if self.broken:
            raise KernelError("Operation not permitted")

    async def prepare(self) -> None:
        await self._call("prepare")

    async def apply(self, contents: Contents) -> KernelError | None:
        self.contents.append(contents)
        await self._call("apply")
        return self._refused()

    def _refused(self) -> KernelError | None:
        return KernelError("File exists") if self.policy_stuck else None

    async def renew(self) -> None:
        await self._call("renew")

    async def verify(self, contents: Contents | None) -> Verification:
        if contents is not None:
            self.contents.append(contents)
        await self._call("verify")
        return Verification(NOTHING, self.drifts.pop(0) if self.drifts else (), self._refused())

    def times(self, what: str) -> list[float]:
        return [at for at, name in self.calls if name == what]


@dataclass
class Heard:
    """What observers hear."""

    in_kernel: Contents | None = None
    applied_after: list[float] = field(default_factory=list)
    drifts: list[Drift] = field(default_factory=list)
    verifications: int = 0
    kept: list[frozenset[Address]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def applied(self, contents: Contents, *, seconds: float) -> None:
        self.in_kernel = contents
        self.applied_after.append(seconds)

    def verified(self, found: Snapshot, drifts: tuple[Drift, ...]) -> None:
        self.verifications += 1
        self.drifts += drifts

    def failed(self, problem: str) -> None:
        self.failures.append(problem)


@asynccontextmanager
async def running(rules: NotedRules) -> AsyncIterator[tuple[Reconciler, Heard]]:
    """A reconciler that runs, and what it tells."""
    heard = Heard()
    backoff = Backoff(full_jitter(initial=0.1, maximum=5.0))
    reconciler = Reconciler(
        rules, observer=heard, verify_interval=VERIFY, keep_connections=heard.kept.append, backoff=backoff
    )
    await reconciler.prepare()
    task = asyncio.create_task(reconciler.run())
    await asyncio.sleep(0)
    try:
        yield reconciler, heard
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(
    condition: Callable[[], bool], step: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0.01)
) -> None:
    """Wait, in virtual time, for what has to happen within ten minutes."""
    async with asyncio.timeout(600):
        while not condition():
            await step()


async def test_a_wish_is_applied_without_waiting() -> None:
    """Nothing stands between the API server's event and the kernel's map but the transaction itself."""
    rules = NotedRules()
    async with running(rules) as (reconciler, heard):
        await asyncio.sleep(7)
        reconciler.want(to("10.96.0.50"), known=frozenset())
        await until(lambda: bool(heard.applied_after))
        assert rules.times("apply") == [7.0]
        assert heard.applied_after == [0.0]


async def test_what_is_told_of_is_in_the_kernel() -> None:
    """A metric that runs ahead says that a pod is served, or exempt, while the kernel still refuses it."""
    rules = NotedRules()
    async with running(rules) as (reconciler, heard):
        rules.seconds = 1.0
        reconciler.want(to("10.96.0.50"), known=frozenset())
        await asyncio.sleep(0.9)
        assert rules.contents == [to("10.96.0.50")]
        assert heard.in_kernel is None
        await asyncio.sleep(0.2)
        assert heard.in_kernel == to("10.96.0.50")


async def test_wishes_that_come_during_a_transaction_become_one() -> None:
    """Only the last of them is applied; the time counts from the first."""
    rules = NotedRules(seconds=1.0)
    async with running(rules) as (reconciler, heard):
        await asyncio.sleep(5)
        for number in range(100):
            reconciler.want(to(f"10.96.0.{number}"), known=frozenset())
            await asyncio.sleep(0.005)
        await until(lambda: len(heard.applied_after) == 2)
        assert rules.contents == [to("10.96.0.0"), to("10.96.0.99")]
        assert heard.applied_after == [pytest.approx(1.0), pytest.approx(1.995)]


async def test_the_same_wish_twice_is_one() -> None:
    """An EndpointSlice that changes in what nobody reads costs no transaction."""
    rules = NotedRules()
    async with running(rules) as (reconciler, _):
        for _ in range(3):
            reconciler.want(to("10.96.0.50"), known=frozenset())
            await asyncio.sleep(1)
        assert len(rules.contents) == 1


async def test_the_kernel_is_looked_at_every_interval_and_exempt_pods_are_renewed() -> None:
    """A renewal is a third of the timeout after the one before: two may fail."""
    rules = NotedRules()
    async with running(rules):
        await asyncio.sleep(100)
        assert rules.times("verify") == [0.0, 30.0, 60.0, 90.0]
        assert [round(at) for at in rules.times("renew")] == [0, 20, 40, 60, 80, 100][: len(rules.times("renew"))]
        assert len(rules.times("renew")) >= 5
        assert RENEWAL_PERIOD * 3 <= 60


async def test_a_notice_is_looked_into_at_once_and_many_of_them_ten_times_a_second() -> None:
    """Another program that rewrites its rules all the time costs no more than that."""
    rules = NotedRules()
    async with running(rules) as (reconciler, _):
        await asyncio.sleep(5)
        reconciler.notice()
        await until(lambda: len(rules.times("verify")) == 2)
        assert rules.times("verify")[1] == 5.0
        for _ in range(1000):
            reconciler.notice()
            await asyncio.sleep(0.001)
        assert len(rules.times("verify")) - 2 == pytest.approx(1 / NOTICE_PAUSE, abs=1)


async def test_a_notice_that_comes_while_the_kernel_is_read_is_looked_into_again() -> None:
    """What was read may be older than what the notice is about."""
    rules = NotedRules(seconds=0.5)
    async with running(rules) as (reconciler, _):
        await asyncio.sleep(5)
        noticed_at = asyncio.get_running_loop().time()
        reconciler.notice()
        await asyncio.sleep(0.1)
        reconciler.notice()
        await asyncio.sleep(2)
        assert rules.times("verify")[1:] == [noticed_at, pytest.approx(noticed_at + 0.5)]


async def test_drift_is_told_with_what_differed(caplog: pytest.LogCaptureFixture) -> None:
    """A person who reads the line knows what the other program has done."""
    rules = NotedRules(drifts=[(), (DRIFT,)])
    with caplog.at_level(logging.WARNING):
        async with running(rules) as (reconciler, heard):
            reconciler.notice()
            await until(lambda: heard.verifications == 2)
    assert heard.drifts == [DRIFT]
    (line,) = caplog.records
    assert line.__dict__["difference"] == "the table is gone"


async def test_what_another_program_does_again_and_again_is_told_twice_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two programs may undo each other's work ten times a second: counted each time, and the log is not flooded."""
    rules = NotedRules(drifts=[(), *[(DRIFT,)] * 300])
    with caplog.at_level(logging.WARNING):
        async with running(rules) as (reconciler, heard):
            began = asyncio.get_running_loop().time()
            while len(heard.drifts) < 300:
                reconciler.notice()
                await asyncio.sleep(2 * NOTICE_PAUSE)
            assert asyncio.get_running_loop().time() - began == pytest.approx(60, abs=1)
    assert len(caplog.records) == pytest.approx(60 / DRIFT_PAUSE, abs=1)


async def test_comparisons_that_find_drift_are_counted_until_one_finds_none() -> None:
    """Readiness asks for it."""
    rules = NotedRules(drifts=[(), *[(DRIFT,)] * 3])
    async with running(rules) as (reconciler, heard):
        counts = [reconciler.status.drifts_in_a_row]
        for _ in range(4):
            await asyncio.sleep(1)
            reconciler.notice()
            await asyncio.sleep(1)
            counts.append(reconciler.status.drifts_in_a_row)
    assert heard.verifications == 5
    assert counts == [0, 1, 2, 3, 0]


async def test_after_a_failure_the_wish_is_granted_by_what_looks_at_everything() -> None:
    """The belief about the kernel may have been wrong: the same transaction would fail for ever."""
    rules = NotedRules()
    async with running(rules) as (reconciler, heard):
        await asyncio.sleep(1)
        rules.broken = True
        reconciler.want(to("10.96.0.50"), known=frozenset())
        await until(lambda: len(heard.failures) >= 4)
        assert reconciler.status.problem == "Operation not permitted"
        rules.broken = False
        await until(lambda: bool(heard.applied_after))
        assert reconciler.status.problem == ""
        names = [name for at, name in rules.calls if at >= 1]
        assert (names[:2], names.count("apply"), rules.contents[-1]) == (["apply", "verify"], 1, to("10.96.0.50"))


async def test_a_policy_rule_that_is_stuck_keeps_nothing_else_waiting() -> None:
    """Somebody else's rule may be in its place for days: routes follow, exempt pods are renewed, connections end."""
    rules = NotedRules()
    async with running(rules) as (reconciler, heard):
        rules.policy_stuck = True
        for number in range(1, 10):
            await asyncio.sleep(15)
            heard.applied_after.clear()
            reconciler.want(to(f"10.96.0.{number}"), known=frozenset({Address("10.1.0.1")}))
            await until(lambda: bool(heard.applied_after))
            assert max(heard.applied_after) <= 2 * NOTICE_PAUSE
            assert rules.contents[-1] == to(f"10.96.0.{number}")
        assert len(heard.kept) == 9
        assert len(rules.times("renew")) == 7
        assert (reconciler.status.problem, reconciler.status.granted) == ("File exists", True)
        rules.policy_stuck = False
        await until(lambda: not reconciler.status.problem)


async def test_a_policy_rule_that_is_stuck_at_the_start_is_tried_again() -> None:
    """Nothing else waits for it then, either."""
    rules = NotedRules(policy_stuck=True)
    async with running(rules) as (reconciler, heard):
        assert reconciler.status.problem == "File exists"
        reconciler.want(to("10.96.0.50"), known=frozenset())
        await until(lambda: bool(heard.applied_after))
        assert reconciler.status.problem == "File exists"
        rules.policy_stuck = False
        await until(lambda: not reconciler.status.problem)


async def test_what_the_kernel_refuses_before_anything_is_written_ends_the_start() -> None:
    """A missing capability, or no nf_tables: nothing here can mend it."""
    with pytest.raises(KernelError, match="not permitted"):
        async with running(NotedRules(broken=True)):
            pass


async def test_wishes_do_not_make_a_kernel_that_refuses_everything_busy() -> None:
    """Servers that flap are no reason to try ten thousand times."""
    rules = NotedRules()
    async with running(rules) as (reconciler, heard):
        rules.broken = True
        for number in range(1_000):
            reconciler.want(to(f"10.96.{number // 250}.{number % 250}"), known=frozenset())
            await asyncio.sleep(0.01)
        assert len(heard.failures) <= 10 / NOTICE_PAUSE * 2


async def test_failures_are_tried_again_with_growing_pauses() -> None:
    """A kernel that refuses is asked a few times a minute, not in a loop."""
    rules = NotedRules()
    async with running(rules) as (reconciler, heard):
        rules.broken = True
        reconciler.notice()
        await asyncio.sleep(60)
        assert 12 <= len(heard.failures) <= 120


async def test_connections_are_ended_only_once_nothing_leads_to_their_server() -> None:
    """Before that a client that connects again would come to the same server."""
    one, two = Address("10.1.0.1"), Address("10.1.0.2")
    rules = NotedRules(seconds=1.0)
    async with running(rules) as (reconciler, heard):
        await asyncio.sleep(5)
        reconciler.want(to("192.0.0.8"), known=frozenset({one, two}))
        await asyncio.sleep(0.5)
        assert heard.kept == []
        await until(lambda: bool(heard.applied_after))
        assert heard.kept == [frozenset({one, two})]
