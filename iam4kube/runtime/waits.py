"""Waits indexed by what they wait for, so that an event wakes its own waiters and nobody else's.

The first iam4kube woke every waiting request on every watch event: O(waiters) per pod change. Here a
request registers under the few keys that could change its answer, and the owner of a key wakes it.

A wake carries no value: whoever is woken evaluates again from the owners' state. That, and the rule that
nobody awaits between evaluating and registering, is what makes a lost wake-up impossible: all of it runs
on one event loop, and `wait` registers before its first suspension.
"""

import asyncio
from collections.abc import Hashable, Iterable


class WaitsClosed(Exception):
    """The process is shutting down: nothing will ever wake this waiter."""


class Waits:
    """Who waits for what. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, set[asyncio.Future[None]]] = {}
        self._futures = 0
        self._closed = False

    def __len__(self) -> int:
        """How many waits are under way: a gauge, and zero when nobody asks."""
        return self._futures

    async def wait(self, keys: Iterable[Hashable]) -> None:
        """Return once any of `keys` is woken; the caller then evaluates again.

        Bound it with `asyncio.timeout_at`: a wait has no deadline of its own. However it ends, it leaves
        nothing behind. Raises `WaitsClosed` at shutdown.
        """
        if self._closed:
            raise WaitsClosed
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        registered = frozenset(keys)  # before anything is registered: a key that is none raises here
        for key in registered:
            self._waiting.setdefault(key, set()).add(future)
        self._futures += 1
        try:
            await future
        finally:
            self._futures -= 1
            for key in registered:
                self._forget(key, future)

    def _forget(self, key: Hashable, future: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(key)
        if waiting is None:
            return
        waiting.discard(future)
        if not waiting:
            del self._waiting[key]

    def wake(self, key: Hashable) -> None:
        """Something under `key` changed: its waiters evaluate again. Free when nobody waits for it."""
        for future in self._waiting.pop(key, ()):
            if not future.done():
                future.set_result(None)

    def is_waited_for(self, key: Hashable) -> bool:
        """Whether any wait is registered under `key` now."""
        return key in self._waiting

    def close(self) -> None:
        """End every wait with `WaitsClosed`, and each later one at once."""
        self._closed = True
        for waiting in list(self._waiting.values()):
            for future in waiting:
                if not future.done():
                    future.set_exception(WaitsClosed())
        self._waiting.clear()
