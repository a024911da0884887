"""Live reads of single objects, for what the watches cannot settle: single-flight, remembered, bounded.

A read is a consistent one (no resourceVersion: the API server asks etcd). It is given 150 ms, because the
asking SDK gives up after one second. One failure, and the API counts as down for 5 s: nobody waits for it
then. What was read is remembered for 5 s, unless the watch says something newer of the same object.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter

from iam4kube.identity.outcomes import ConfirmAccount, ConfirmPods
from iam4kube.kube.errors import KubeError
from iam4kube.kube.objects import Pod, ServiceAccount

READ_TIMEOUT = 0.150  # seconds: design section 2
REMEMBERED = 5.0  # seconds
DOWN_AFTER_FAILURE = 5.0  # seconds
# Reads under way at once. At 150 ms each that is over 400 reads a second: what one busy API server takes
# from one client without throttling it (client-go's own default is 5 a second, kubelets' 50).
_READS_AT_ONCE = 64
# What is remembered: 5 s at that rate, with room.
_MEMORY_LIMIT = 4096

_log = logging.getLogger(__name__)

Read = TypeVar("Read", bound=Pod | ServiceAccount)


class Reader(Protocol):
    """Reads one object now. `kube.client.KubeClient` behind it."""

    async def pod(self, *, namespace: str, name: str) -> Pod | None:
        """The pod as it stands; None where there is none. Raises on anything else."""
        ...

    async def service_account(self, *, namespace: str, name: str) -> ServiceAccount | None:
        """The ServiceAccount as it stands; None where there is none. Raises on anything else."""
        ...


class FairLimiter(Protocol):
    """Gives each namespace its share."""

    def try_take(self, key: Hashable) -> bool:
        """Take a token for `key` if there is one now."""
        ...


class Remembered(Generic[Read]):
    """What a live read said, or that none could be made."""

    __slots__ = ("answered", "expires", "found")

    def __init__(self, *, found: Read | None, answered: bool, expires: float) -> None:
        self.found = found
        """The object, or None: there is none, or nobody answered."""
        self.answered = answered
        self.expires = expires


class _Flight:
    """One read under way, and whether the watch has overtaken it."""

    __slots__ = ("done", "outdated")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.outdated = False


class Confirmations:
    """Owns the reads under way, what they said, and whether the API server answers."""

    def __init__(self, *, reader: Reader, account_limiter: FairLimiter, registry: CollectorRegistry) -> None:
        self._reader = reader
        self._account_limiter = account_limiter
        self._flights: dict[Hashable, _Flight] = {}
        self._memory: OrderedDict[Hashable, Remembered[Any]] = OrderedDict()
        self._tasks: asyncio.TaskGroup | None = None
        self._down_until = float("-inf")
        self._reads = Counter(
            "iam4kube_identity_confirmations",
            "Live reads that the watches could not settle, by kind and result",
            ["kind", "result"],
            registry=registry,
        )

    async def run(self) -> None:
        """Own the reads until cancelled. None is made before, none outlives it."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None

    @property
    def api_is_down(self) -> bool:
        """Whether a read failed within the last 5 s: nobody waits for the API server now."""
        return asyncio.get_running_loop().time() < self._down_until

    def pod(self, pod: Pod) -> Remembered[Pod] | None:
        """What a live read of this pod's name said within the last 5 s."""
        return self._recall(_pod_key(pod))

    def account(self, *, namespace: str, name: str) -> Remembered[ServiceAccount] | None:
        """What a live read of this ServiceAccount said within the last 5 s."""
        return self._recall(_account_key(namespace, name))

    def pod_changed(self, pod: Pod) -> None:
        """The watch has delivered something newer: forget, and do not remember a read under way."""
        self._outdate(_pod_key(pod))

    def account_changed(self, account: ServiceAccount) -> None:
        """The watch has delivered something newer: forget, and do not remember a read under way."""
        self._outdate(_account_key(account.namespace, account.name))

    async def confirm(self, what: ConfirmPods | ConfirmAccount) -> bool:
        """Read what is asked for and remember it; the caller then evaluates again.

        False when there was no room to read a pod: the caller cannot be certain in time. A ServiceAccount that
        there is no room to read, or whose namespace has used up its share, is remembered as unanswered instead:
        the watch's word is then the answer, so that pods without a role do not depend on the API server.
        """
        if isinstance(what, ConfirmAccount):
            return await self._confirm_account(what)
        flights = [self._fly(_pod_key(pod), "pod", self._pod_read(pod)) for pod in what.pods]
        for flight in flights:
            if flight is not None:
                await asyncio.shield(flight.done)
        return None not in flights

    async def _confirm_account(self, what: ConfirmAccount) -> bool:
        key = _account_key(what.namespace, what.name)
        flight: _Flight | None = None
        if key in self._flights or self._account_limiter.try_take(what.namespace):
            flight = self._fly(key, "service_account", self._account_read(what))
        else:
            self._reads.labels("service_account", "limited").inc()
        if flight is None:
            self._remember(key, Remembered[ServiceAccount](found=None, answered=False, expires=self._in(1.0)))
        else:
            await asyncio.shield(flight.done)
        return True

    def _pod_read(self, pod: Pod) -> Callable[[], Awaitable[Pod | None]]:
        return lambda: self._reader.pod(namespace=pod.namespace, name=pod.name)

    def _account_read(self, what: ConfirmAccount) -> Callable[[], Awaitable[ServiceAccount | None]]:
        return lambda: self._reader.service_account(namespace=what.namespace, name=what.name)

    def _fly(self, key: Hashable, kind: str, read: Callable[[], Awaitable[Read | None]]) -> _Flight | None:
        """Join the read that is under way or begin one; None when there is no room."""
        flight = self._flights.get(key)
        if flight is not None:
            return flight
        if self._tasks is None or len(self._flights) >= _READS_AT_ONCE:
            self._reads.labels(kind, "no_room").inc()
            return None
        flight = self._flights[key] = _Flight(asyncio.get_running_loop().create_future())
        self._tasks.create_task(self._read(key, kind, read, flight), name=f"confirm {kind}")
        return flight

    async def _read(
        self, key: Hashable, kind: str, read: Callable[[], Awaitable[Read | None]], flight: _Flight
    ) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                found = await read()
        except Exception as error:  # noqa: BLE001  # whatever a read dies of, it has not confirmed
            self._failed(kind, error)
        else:
            self._reads.labels(kind, "found" if found is not None else "absent").inc()
            if not flight.outdated:
                self._remember(key, Remembered[Read](found=found, answered=True, expires=self._in(REMEMBERED)))
        finally:
            del self._flights[key]
            with suppress(asyncio.InvalidStateError):
                flight.done.set_result(None)

    def _failed(self, kind: str, error: Exception) -> None:
        self._reads.labels(kind, "failed").inc()
        if not self.api_is_down:
            _log.warning(
                "Object not confirmed by a live read; going by the watches for a while",
                extra={
                    "resource": f"{kind.replace('_', '')}s",
                    "verb": "get",
                    "error": str(error) or type(error).__name__,
                    "seconds": DOWN_AFTER_FAILURE,
                    "hint": _hint(error),
                },
            )
        self._down_until = self._in(DOWN_AFTER_FAILURE)

    def _in(self, seconds: float) -> float:
        return asyncio.get_running_loop().time() + seconds

    def _recall(self, key: Hashable) -> Remembered[Any] | None:
        remembered = self._memory.get(key)
        if remembered is None or remembered.expires <= asyncio.get_running_loop().time():
            return None
        return remembered

    def _remember(self, key: Hashable, remembered: Remembered[Any]) -> None:
        self._memory.pop(key, None)
        self._memory[key] = remembered
        if len(self._memory) > _MEMORY_LIMIT:
            self._memory.popitem(last=False)

    def _outdate(self, key: Hashable) -> None:
        self._memory.pop(key, None)
        flight = self._flights.get(key)
        if flight is not None:
            flight.outdated = True


def _hint(error: Exception) -> str:
    if isinstance(error, KubeError) and error.kind == "forbidden":
        return "permission missing: grant this verb on this resource in a ClusterRole"
    return "the API server is slow or out of reach"


def _pod_key(pod: Pod) -> Hashable:
    return ("pod", pod.namespace, pod.name)


def _account_key(namespace: str, name: str) -> Hashable:
    return ("service_account", namespace, name)
