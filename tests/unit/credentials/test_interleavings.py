"""Random holds, releases, changes, requests, failures and outages against what a simple model knows.

Each seed is one world of a few namespaces. The model knows nothing of queues: only which keys
are named, which calls were sent when, and what STS would have said.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import looptime
import pytest

from iam4kube.credentials.churn import RESTART_INTERVAL
from iam4kube.credentials.entry import GRACE
from iam4kube.credentials.values import Credentials, Fetched
from iam4kube.roles import RoleKey
from tests.support.credentials import (
    VIRTUAL_TIME,
    Call,
    Fetching,
    TunableSource,
    access_denied,
    aws_time,
    changed_key,
    fetching,
    role_key,
    throttled,
    unavailable,
)

SEEDS = 1000
RATE, BURST, SLOTS, DEADLINE = 10.0, 20.0, 8, 15.0
_SLACK = 1e-3


@dataclass
class _Recorder(TunableSource):
    """Checks at every call what must hold whatever happens."""

    previous: dict[RoleKey, Call] = field(default_factory=dict)
    retries: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    async def fetch(self, key: RoleKey) -> Credentials:
        # Not asserted here: whatever a source raises counts as a failure of its role.
        if self.running[key]:
            self.violations.append(f"two calls for {key}")
        if sum(self.running.values()) >= SLOTS:
            self.violations.append("more calls than slots")
        previous = self.previous.get(key)
        now = asyncio.get_running_loop().time()
        # A role that was called for longer ago than that may have been forgotten in between.
        if previous is not None and previous.failed and now - previous.at < GRACE:
            self.retries.append(now)
        before = len(self.calls)
        try:
            return await super().fetch(key)
        finally:
            self.previous[key] = self.calls[before]


@dataclass
class _Model:
    """One world. `bad` roles are refused whenever they are asked for, `good` ones never fail of their own."""

    world: Fetching
    source: _Recorder
    chance: random.Random
    trouble: bool
    """Whether STS as a whole goes wrong at times."""
    good: list[RoleKey] = field(default_factory=list)
    bad: list[RoleKey] = field(default_factory=list)
    held: dict[str, RoleKey] = field(default_factory=dict)
    changes: int = 0
    requests: set[asyncio.Task[None]] = field(default_factory=set)
    in_trouble: bool = False

    def populate(self) -> None:
        namespaces = self.chance.randint(1, 4)
        for number in range(self.chance.randint(2, 30)):
            key = role_key(f"r{number}", namespace=f"ns{number % namespaces}")
            if self.chance.random() < 0.4:
                self.bad.append(key)
                self.source.fail(key, access_denied)
            else:
                self.good.append(key)
        if self.bad and self.chance.random() < 0.3:
            self.source.hang(self.bad[0])

    async def live(self, steps: int) -> None:
        actions: list[Callable[[], Awaitable[None] | None]] = [
            self.hold,
            self.release,
            self.change,
            self.request,
            self.use,
        ]
        if self.trouble:
            actions.append(self.turn)
        for _ in range(steps):
            self.chance.choice(actions)()
            self.check_answers()
            if self.chance.random() < 0.5:
                await asyncio.sleep(self.chance.choice([0.0, 0.01, 0.3, 2.0, 20.0, 100.0]) * self.chance.random())

    def hold(self) -> None:
        key = self.chance.choice(self.good + self.bad)
        if key.session_name not in self.held:
            self.held[key.session_name] = key
            self.world.hold(key)

    def release(self) -> None:
        if self.held:
            self.world.prefetcher.release(self.held.pop(self.chance.choice(list(self.held))))

    def change(self) -> None:
        """A held ServiceAccount gets another external ID: a new key, new first."""
        if self.held:
            name = self.chance.choice(list(self.held))
            before = self.held[name]
            self.changes += 1
            self.held[name] = changed_key(before, f"external-{self.changes}")
            self.world.hold(self.held[name])
            self.world.prefetcher.release(before)

    def use(self) -> None:
        if self.held:
            self.world.prefetcher.use(self.chance.choice(list(self.held.values())), self.chance.randint(0, 2))

    def request(self) -> None:
        """A pod asks: for what its ServiceAccount names, or for a role that the watch has not shown yet."""
        key = self.chance.choice([*self.held.values(), *self.good, *self.bad])
        task = asyncio.create_task(self._ask(key, patience=self.chance.choice([0.01, 1.0, 15.0])))
        self.requests.add(task)
        task.add_done_callback(self.requests.discard)

    async def _ask(self, key: RoleKey, *, patience: float) -> None:
        found = await self.world.credentials(key, within=patience)
        if isinstance(found, Credentials) and found.secret_access_key != f"secret of {key.arn}":
            self.source.violations.append(f"another role's credentials for {key}")

    def turn(self) -> None:
        """STS gets into trouble, or out of it."""
        self.in_trouble = not self.in_trouble
        if self.in_trouble:
            self.source.fail(None, self.chance.choice([unavailable, throttled]))
        else:
            self.source.heal(None)

    def check_answers(self) -> None:
        """What is served is unexpired by AWS's clock, and the key's own."""
        now = aws_time(asyncio.get_running_loop().time())
        for key in list(self.held.values())[:5]:
            found = self.world.prefetcher.lookup(key)
            if isinstance(found, Fetched):
                assert found.credentials.expiration > now
                assert found.credentials.secret_access_key == f"secret of {key.arn}"

    async def settle(self) -> None:
        """Without trouble, every good role that is named or asked for gets its credentials soon."""
        self.source.heal(None)
        wanted = [key for key in self.held.values() if key.arn in {good.arn for good in self.good}]
        # A changed key waits ten seconds, hung calls hold slots for the call deadline, the outage's end is noticed
        # when most of a minute's calls went well, and back-offs last half a minute.
        patience = RESTART_INTERVAL + DEADLINE + 60.0 + 30.0 if self.trouble else RESTART_INTERVAL + 2 * DEADLINE
        found = await asyncio.gather(*(self.world.credentials(key, within=patience) for key in wanted))
        assert all(isinstance(answer, Credentials) for answer in found)

    async def end(self) -> None:
        """Nothing is left when nobody wants anything."""
        while self.held:
            self.release()
        if self.requests:
            await asyncio.wait(self.requests)
        await asyncio.sleep(GRACE + DEADLINE + 1.0)
        prefetcher = self.world.prefetcher
        assert not prefetcher._entries
        assert not prefetcher._queue._places
        assert not len(prefetcher._queue._times)
        assert not len(prefetcher._waited)
        assert not len(self.world.waits)
        assert not any(prefetcher.statistics().states.values())
        assert not any(prefetcher.statistics().failing.values())

    def check_pace(self) -> None:
        """No window of time holds more calls than the limiter lets through, nor more retries than their share."""
        _assert_bucket([call.at for call in self.source.calls], rate=RATE, burst=BURST)
        if not self.trouble:
            _assert_bucket(self.source.retries, rate=RATE / 5, burst=BURST / 5)


def _assert_bucket(times: list[float], *, rate: float, burst: float) -> None:
    tokens, last = burst, 0.0
    for at in times:
        tokens = min(burst, tokens + (at - last) * rate) - 1.0
        last = at
        assert tokens >= -_SLACK, f"too many calls at {at}"


async def _run(seed: int) -> None:
    chance = random.Random(seed)
    source = _Recorder(latency=chance.choice([0.0, 0.05, 1.0]), lifetime=chance.choice([300.0, 3600.0]))
    async with fetching(source, seed=seed, rate=RATE, burst=BURST, slots=SLOTS, call_deadline=DEADLINE) as world:
        model = _Model(world, source, chance, trouble=seed % 3 == 0)
        model.populate()
        await model.live(chance.randint(10, 120))
        await model.settle()
        await model.end()
        model.check_pace()
        assert not source.violations


@pytest.mark.parametrize("block", range(10))
def test_random_interleavings(block: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the order: single-flight, within the limits, right answers, good roles served, nothing left behind."""
    caplog.set_level(logging.ERROR)  # that failing roles are logged is not what this is about
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        loop = looptime.new_event_loop(**VIRTUAL_TIME)
        try:
            loop.run_until_complete(_run(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        finally:
            asyncio.set_event_loop(None)
            loop.close()
