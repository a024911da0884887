"""The server's own roles: no pod may have them, and pods' roles must be of the server's own partition.

Both are AWS's to tell (`sts:GetCallerIdentity`, which needs no permission; a VPC endpoint's policy must allow
it), and STS may be down at start. The role of `--assume-role-arn` is known from the settings at once; the rest is
asked for until it is known. Until then no role is fetched: it could be the server's own.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from iam4kube.credentials.values import Credentials, CredentialSource, FailureKind, FetchError
from iam4kube.identity.accounts import RolePolicy
from iam4kube.roles import Role, RoleKey
from iam4kube.runtime.backoff import Backoff, full_jitter

# How long a fetch waits for the server's own role, in seconds: at start, one call to STS.
_PATIENCE = 5.0

logger = logging.getLogger(__name__)


class Caller(Protocol):
    """Who we are to AWS."""

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn`, ..."""
        ...

    @property
    def account(self) -> str:
        """Twelve digits."""
        ...

    @property
    def role_name(self) -> str | None:
        """None for a user or an account's root."""
        ...


class CallerSource(Protocol):
    """Asks AWS who we are: `credentials.sts`."""

    async def caller(self) -> Caller:
        """Ask once. Raises `FetchError`."""
        ...


class OwnRole:
    """Owns what is known of the server's own roles. `use` hears of each policy."""

    def __init__(
        self,
        source: CallerSource,
        *,
        assumed: Role | None,
        use: Callable[[RolePolicy], None],
        known: asyncio.Event | None = None,
    ) -> None:
        """`known` is set once AWS has answered, and the policy is in force."""
        self._source = source
        self._assumed = assumed
        self._use = use
        self._backoff = Backoff(full_jitter(initial=1, maximum=30, minimum=0.2))
        self._known = known or asyncio.Event()
        use(policy(assumed, None))

    async def run(self) -> None:
        """Ask until AWS has answered."""
        while not self._known.is_set():
            try:
                caller = await self._source.caller()
            except FetchError as error:
                delay = self._backoff.next_delay()
                extra = {"error": str(error), "retry_seconds": round(delay, 1)}
                logger.warning("STS does not tell the server's own role; check its own AWS credentials", extra=extra)
                await asyncio.sleep(delay)
            else:
                self._learn(caller)
        await asyncio.get_running_loop().create_future()

    def _learn(self, caller: Caller) -> None:
        self._use(policy(self._assumed, caller))
        self._known.set()
        extra = {"account": caller.account, "role_name": caller.role_name, "partition": caller.partition}
        logger.info("The server's own role is known", extra=extra)


class OwnRoleFirst:
    """A source of credentials that fetches nothing before the server's own role is known."""

    def __init__(self, source: CredentialSource, *, known: asyncio.Event) -> None:
        self._source = source
        self._known = known

    async def fetch(self, key: RoleKey) -> Credentials:
        """Get a new session for `key`. Raises `FetchError`."""
        if not self._known.is_set():
            await self._wait()
        return await self._source.fetch(key)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._known.wait()
        except TimeoutError as error:
            text = "the server's own role is not known yet: sts:GetCallerIdentity has not been answered"
            raise FetchError(kind=FailureKind.TRANSIENT, code="OwnRoleUnknown", message=text) from error


def policy(assumed: Role | None, caller: Caller | None) -> RolePolicy:
    """What pods may not have, from what is known."""
    reserved = set()
    if assumed is not None:
        reserved.add((assumed.account, assumed.name))
    if caller is not None and caller.role_name is not None:
        reserved.add((caller.account, caller.role_name))
    partition = caller.partition if caller is not None else None
    return RolePolicy(partition=partition or (assumed.partition if assumed else None), reserved=frozenset(reserved))
