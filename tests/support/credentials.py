"""A source of credentials whose behaviour a test sets role by role, and a prefetcher on top of it."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from iam4kube.credentials.pace import Pace
from iam4kube.credentials.prefetcher import Prefetcher
from iam4kube.credentials.values import Credentials, CredentialSource, Failure, FailureKind, Fetched, FetchError
from iam4kube.roles import ExternalId, RoleArn, RoleKey, session_name
from iam4kube.runtime.waits import Waits

HOUR = 3600.0
MINUTE = 60.0
VIRTUAL_TIME = {"resolution": 2.0**-20, "noop_cycles": 2}
"""For looptime. With times that are exact in binary the limiter's sums are exact, too: a rest of 1e-15 tokens, for
which it sets a timer that is due at once, would stop virtual time. And nothing here waits for the outside.
"""

_AWS_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def role_key(name: str, *, namespace: str = "default", account: str = "123456789012") -> RoleKey:
    """The key of the ServiceAccount `name`, whose role is called the same."""
    session = session_name(namespace=namespace, service_account=name)
    return RoleKey(RoleArn(f"arn:aws:iam::{account}:role/{name}"), None, session)


def changed_key(key: RoleKey, external_id: str) -> RoleKey:
    """The key of the same ServiceAccount after another external ID was set."""
    return RoleKey(key.arn, ExternalId(external_id), key.session_name)


def refusal(code: str) -> Callable[[], FetchError]:
    """Any refusal of a role."""
    return lambda: FetchError(kind=FailureKind.PERMANENT, code=code, message="not authorized")


def access_denied() -> FetchError:
    """What STS says of a role that does not trust us."""
    return refusal("AccessDenied")()


def unavailable() -> FetchError:
    """What STS says when it is in trouble."""
    return FetchError(kind=FailureKind.TRANSIENT, code="ServiceUnavailable", message="try again")


def throttled() -> FetchError:
    """What STS says when it is called too often."""
    return FetchError(kind=FailureKind.THROTTLED, code="Throttling", message="Rate exceeded")


def aws_time(loop_time: float) -> datetime:
    """AWS's wall clock, which runs with the event loop's."""
    return _AWS_EPOCH + timedelta(seconds=loop_time)


@dataclass
class Call:
    """One call as the source saw it."""

    key: RoleKey
    at: float
    failed: bool = False


@dataclass
class TunableSource:
    """Issues sessions after `latency` seconds, unless told otherwise for a role or for all."""

    latency: float = 0.0
    lifetime: float = HOUR
    calls: list[Call] = field(default_factory=list)
    running: Counter[RoleKey] = field(default_factory=Counter)
    _failures: dict[RoleArn | None, Callable[[], FetchError]] = field(default_factory=dict)
    _hanging: set[RoleArn] = field(default_factory=set)

    def fail(self, key: RoleKey | None, failure: Callable[[], FetchError]) -> None:
        """Fail calls for this role, or for all with None, until `heal`."""
        self._failures[None if key is None else key.arn] = failure

    def heal(self, key: RoleKey | None) -> None:
        """Take back `fail` and `hang` for this role, or the `fail` for all with None."""
        self._failures.pop(None if key is None else key.arn, None)
        if key is not None:
            self._hanging.discard(key.arn)

    def hang(self, key: RoleKey) -> None:
        """Never answer calls for this role."""
        self._hanging.add(key.arn)

    def times(self, key: RoleKey) -> list[float]:
        """When this key was called for."""
        return [call.at for call in self.calls if call.key == key]

    async def fetch(self, key: RoleKey) -> Credentials:
        """Issue a session or fail, as the protocol says."""
        loop = asyncio.get_running_loop()
        call = Call(key, loop.time())
        self.calls.append(call)
        self.running[key] += 1
        try:
            if key.arn in self._hanging:
                call.failed = True
                await loop.create_future()
            await asyncio.sleep(self.latency)
            failure = self._failures.get(key.arn) or self._failures.get(None)
            if failure is not None:
                call.failed = True
                raise failure()
        finally:
            self.running[key] -= 1
        return self.issue(key, loop.time())

    def issue(self, key: RoleKey, now: float) -> Credentials:
        """The session that AWS would issue at this time."""
        return Credentials(
            access_key_id=f"ASIA{len(self.calls):016}",
            secret_access_key=f"secret of {key.arn}",
            session_token=key.session_name,
            expiration=aws_time(now + self.lifetime),
            issued=aws_time(now),
        )


@dataclass
class Fetching:
    """A prefetcher at work, and what it works with."""

    source: TunableSource
    prefetcher: Prefetcher
    waits: Waits
    registry: CollectorRegistry

    def hold(self, *keys: RoleKey) -> None:
        """ServiceAccounts name these roles."""
        for key in keys:
            self.prefetcher.hold(key, namespace=namespace_of(key))

    async def credentials(self, key: RoleKey, *, within: float = 15.0) -> Credentials | Failure | None:
        """What a request for this role gets that may wait so many seconds; None when it waited in vain."""
        try:
            async with asyncio.timeout(within):
                while (found := self.prefetcher.lookup(key)) is None:
                    with self.prefetcher.demand(key, namespace=namespace_of(key)):
                        await self.waits.wait([key])
        except TimeoutError:
            return None
        if isinstance(found, Fetched):
            return found.credentials
        return Failure(FailureKind.PERMANENT, found.code, found.message)

    def life_left(self, key: RoleKey) -> float:
        """How long this role's credentials last from now, in seconds. It has some."""
        found = self.prefetcher.lookup(key)
        assert isinstance(found, Fetched)
        return found.expires_at - asyncio.get_running_loop().time()

    def failure(self, key: RoleKey) -> Failure | None:
        """Why this role's last fetch failed, if it did."""
        return self.prefetcher._entries[key].failure

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample of the registry."""
        return self.registry.get_sample_value(name, labels)


def namespace_of(key: RoleKey) -> str:
    """The namespace whose ServiceAccount a key is of."""
    return key.session_name.split("@")[0]


@contextlib.asynccontextmanager
async def fetching(
    source: TunableSource | None = None,
    *,
    real: CredentialSource | None = None,
    seed: int = 1,
    rate: float = 10.0,
    burst: float = 20.0,
    slots: int = 20,
    call_deadline: float = 15.0,
) -> AsyncIterator[Fetching]:
    """A prefetcher that runs as long as the context, on the tunable source or a real one."""
    source = source or TunableSource()
    waits, registry = Waits(), CollectorRegistry()
    prefetcher = Prefetcher(
        source=real or source,
        waits=waits,
        registry=registry,
        chance=random.Random(seed),
        pace=Pace(rate=rate, burst=burst),
        slots=slots,
        call_deadline=call_deadline,
    )
    world = Fetching(source, prefetcher, waits, registry)
    task = asyncio.create_task(prefetcher.run())
    try:
        yield world
        if task.done():
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
