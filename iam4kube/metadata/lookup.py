"""From an address to an answer: identity first, then credentials, waiting where something is on its way.

Every evaluation is synchronous and starts from the top, so an answer never rests on what was true before a
wait. The warm path (`peek`) suspends nowhere.
"""

import asyncio
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import msgspec

from iam4kube.credentials.values import Fetched
from iam4kube.credentials.values import Refused as RefusedBySts
from iam4kube.identity.outcomes import (
    ConfirmAccount,
    ConfirmPods,
    Identified,
    Located,
    NoRole,
    Open,
    Pending,
    Reason,
    Refused,
    Settled,
    Unavailable,
    account_key,
    address_key,
)
from iam4kube.kube.objects import Address
from iam4kube.roles import RoleKey
from iam4kube.runtime.waits import Waits, WaitsClosed


class RoleAnswer(msgspec.Struct, frozen=True):
    """The pod's role, with unexpired credentials in hand."""

    identified: Identified
    fetched: Fetched


Answer = RoleAnswer | NoRole | Refused | Unavailable
Place = Located | Refused | Unavailable


class Identities(Protocol):
    """Who asks: `identity.chain.Chain`."""

    def evaluate(self, address: Address) -> Settled | Open:
        """Evaluate the whole chain for an address, as far as the role."""
        ...

    def locate(self, address: Address) -> Located | Refused | Unavailable | Open:
        """Evaluate the chain as far as the node."""
        ...


class Confirming(Protocol):
    """Live reads: `identity.confirmations.Confirmations`."""

    async def confirm(self, what: ConfirmPods | ConfirmAccount) -> bool:
        """Read, remember, and return; False when there was no room to read in time."""
        ...


class CredentialCache(Protocol):
    """What they get: `credentials.prefetcher.Prefetcher`."""

    def lookup(self, key: RoleKey) -> Fetched | RefusedBySts | None:
        """What is in hand for a role; None when nothing is yet."""
        ...

    def demand(self, key: RoleKey, *, namespace: str) -> AbstractContextManager[object]:
        """Hold the role at the front of the queue for as long as a request waits."""
        ...


class Lookup:
    """Answers for addresses. `observer` hears of each answer: it must be cheap and must not raise."""

    def __init__(
        self,
        *,
        identities: Identities,
        confirmations: Confirming,
        credentials: CredentialCache,
        waits: Waits,
        observer: Callable[[Address, Answer], None],
    ) -> None:
        self._identities = identities
        self._confirmations = confirmations
        self._credentials = credentials
        self._waits = waits
        self._observer = observer

    def peek(self, address: Address) -> Answer | None:
        """The answer if it is settled already, else None: then await `answer`."""
        step = self._step(address)
        if isinstance(step, _OPEN):
            return None
        self._observer(address, step)
        return step

    async def answer(self, address: Address, *, deadline: float) -> Answer:
        """The answer, waited for until `deadline` (the loop's clock, seconds).

        Cancelling the call (the client hung up) leaves nothing behind.
        """
        answer: Answer = await self._settle(lambda: self._step(address), deadline=deadline)
        self._observer(address, answer)
        return answer

    def peek_place(self, address: Address) -> Place | None:
        """Where the asker runs if that is settled already, else None: then await `place`."""
        step = self._identities.locate(address)
        return None if isinstance(step, _OPEN) else step

    async def place(self, address: Address, *, deadline: float) -> Place:
        """Where the asker runs, waited for until `deadline` (the loop's clock, seconds)."""
        return await self._settle(lambda: self._identities.locate(address), deadline=deadline)

    def _step(self, address: Address) -> "Answer | _Unsettled":
        outcome = self._identities.evaluate(address)
        if not isinstance(outcome, Identified):
            return outcome
        in_hand = self._credentials.lookup(outcome.key)
        if in_hand is None:
            return _AwaitCredentials(outcome, address)
        if isinstance(in_hand, RefusedBySts):
            return NoRole(Reason.STS_REFUSES, outcome.pod, f"{in_hand.code}: {in_hand.message}")
        return RoleAnswer(outcome, in_hand)

    async def _settle(
        self, step: Callable[[], "_Settling | _Unsettled"], *, deadline: float
    ) -> "_Settling | Unavailable":
        outcome: _Settling | _Unsettled | None = None
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    outcome = step()
                    if not isinstance(outcome, _OPEN):
                        return outcome
                    if not await self._proceed(outcome):
                        return Unavailable(Reason.UNCONFIRMED)
        except TimeoutError:
            return _late(outcome)
        except WaitsClosed:
            return Unavailable(Reason.SHUTTING_DOWN)

    async def _proceed(self, outcome: "_Unsettled") -> bool:
        """Wait for what is missing; False when it cannot even be waited for."""
        if isinstance(outcome, Pending):
            await self._waits.wait(outcome.on)
        elif isinstance(outcome, _AwaitCredentials):
            identified = outcome.identified
            with self._credentials.demand(identified.key, namespace=identified.account.namespace):
                await self._waits.wait(outcome.keys())
        else:
            return await self._confirmations.confirm(outcome)
        return True


class _AwaitCredentials(msgspec.Struct, frozen=True):
    identified: Identified
    address: Address

    def keys(self) -> tuple[Hashable, ...]:
        account = self.identified.account
        return (
            self.identified.key,
            address_key(self.address),
            account_key(namespace=account.namespace, name=account.name),
        )


_Unsettled = Open | _AwaitCredentials
_Settling = TypeVar("_Settling")
_OPEN = (Pending, ConfirmPods, ConfirmAccount, _AwaitCredentials)


def _late(outcome: object) -> Unavailable:
    """The deadline was reached with this outcome still open."""
    if isinstance(outcome, _AwaitCredentials):
        return Unavailable(Reason.NO_CREDENTIALS_YET, outcome.identified.pod, outcome.identified.role)
    return Unavailable(outcome.reason if isinstance(outcome, Pending) else Reason.CONFIRMING)
