"""AssumeRole: the source of credentials there is now.

The server's own credentials come from boto3's chain. With a role in between they assume that one first, and its
sessions assume the pods' roles; then AWS caps these at one hour (role chaining).
"""

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from iam4kube.credentials.call_threads import CallThreads
from iam4kube.credentials.classification import OWN_CREDENTIALS, classify
from iam4kube.credentials.intermediate import INTERMEDIATE_SESSION_NAME, Intermediate
from iam4kube.credentials.region import find_region
from iam4kube.credentials.sts_client import SessionCredentials, sts_client
from iam4kube.credentials.values import Credentials, FailureKind, FetchError
from iam4kube.roles import RoleArn, RoleKey
from iam4kube.runtime.clock import Now

if TYPE_CHECKING:
    from types_boto3_sts.client import STSClient
    from types_boto3_sts.type_defs import AssumeRoleResponseTypeDef, GetCallerIdentityResponseTypeDef

Answer = TypeVar("Answer")
Result = TypeVar("Result")

CHAINED_SESSION_LIMIT = 3600.0
"""Seconds: AssumeRole refuses more to a caller that is itself a session of an assumed role."""

_CALLER = re.compile(
    r"arn:(?P<partition>[^:]+):(?:sts|iam)::(?P<account>[0-9]{12}):(?:assumed-role/(?P<role>[^/]+)/.+|.+)"
)


class Caller(msgspec.Struct, frozen=True):
    """Who the server is to AWS."""

    partition: str
    account: str
    role_name: str | None
    """None for a user or an account's root."""


class AssumeRoleSource:
    """Fetches sessions with `sts:AssumeRole`. An asynchronous context manager, on one event loop.

    `admit` is awaited before each call that nobody else has taken a limiter's token for: the role in between,
    and `caller`. `call_timeout` (seconds) bounds one call, connecting and reading included.
    """

    def __init__(
        self,
        *,
        admit: Callable[[], Awaitable[None]],
        now: Now,
        region: str | None = None,
        endpoint_url: str | None = None,
        assume_role_arn: RoleArn | None = None,
        session_duration: float = 3600.0,
        threads: int = 20,
        call_timeout: float = 10.0,
    ) -> None:
        self._admit = admit
        self._now = now
        self._region = region
        self._endpoint_url = endpoint_url
        self._assume_role_arn = assume_role_arn
        chained = assume_role_arn is not None
        self._duration = int(min(session_duration, CHAINED_SESSION_LIMIT) if chained else session_duration)
        self._connections = threads
        self._threads = CallThreads(threads)
        self._call_timeout = call_timeout
        self._own_client: STSClient | None = None
        self._client: STSClient | None = None
        self._intermediate: Intermediate | None = None

    async def __aenter__(self) -> Self:
        """Make the clients; calls nobody but, if need be, the instance metadata service for the region.

        Raises `SettingsError`.
        """
        region = await find_region(self._region)
        await asyncio.to_thread(self._make_clients, region)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give up what is under way."""
        if self._intermediate is not None:
            await self._intermediate.close()
        self._threads.close()
        for client in {id(client): client for client in (self._own_client, self._client) if client}.values():
            client.close()

    async def fetch(self, key: RoleKey) -> Credentials:
        """Get a new session for `key`. Raises `FetchError`."""
        if self._intermediate is not None:
            await self._intermediate.ensure()
        try:
            return await self._assume(
                _opened(self._client),
                RoleArn=key.arn,
                RoleSessionName=key.session_name,
                DurationSeconds=self._duration,
                **({} if key.external_id is None else {"ExternalId": key.external_id}),
            )
        except FetchError as error:
            if self._intermediate is not None and error.code in OWN_CREDENTIALS:
                self._intermediate.distrust()
            raise

    async def caller(self) -> Caller:
        """Ask who the server itself is (the role in between not taken). Raises `FetchError`."""
        await self._admit()
        return await self._call(_opened(self._own_client).get_caller_identity, _caller)

    def _make_clients(self, region: str) -> None:
        make = functools.partial(
            sts_client, region=region, endpoint_url=self._endpoint_url, connections=self._connections
        )
        self._own_client = self._client = make()
        if self._assume_role_arn is not None:
            session = SessionCredentials()
            self._client = make(credentials=session)
            self._intermediate = Intermediate(session, self._assume_intermediate)

    async def _assume_intermediate(self) -> Credentials:
        await self._admit()
        try:
            return await self._assume(
                _opened(self._own_client),
                RoleArn=self._assume_role_arn,
                RoleSessionName=INTERMEDIATE_SESSION_NAME,
                DurationSeconds=int(CHAINED_SESSION_LIMIT),
            )
        except FetchError as error:
            # Whatever it is, it is the server's trouble and none of the pod's role.
            kind = FailureKind.THROTTLED if error.kind is FailureKind.THROTTLED else FailureKind.TRANSIENT
            text = f"the server could not assume {self._assume_role_arn} itself: {error.message}"
            raise FetchError(kind=kind, code=error.code, message=text) from error

    async def _assume(self, client: "STSClient", **request: Any) -> Credentials:
        return await self._call(lambda: client.assume_role(**request), self._credentials)

    async def _call(self, call: Callable[[], Answer], read: Callable[[Answer], Result]) -> Result:
        """Call in a thread, and read the answer. Raises `FetchError` without cause and context: see `classify`."""
        try:
            return read(await self._threads.run(functools.partial(_classified, call), timeout=self._call_timeout))
        except Exception as error:  # noqa: BLE001  # raised below, without its text
            failure = classify(error)
        raise failure

    def _credentials(self, response: "AssumeRoleResponseTypeDef") -> Credentials:
        session = response["Credentials"]
        return Credentials(
            access_key_id=session["AccessKeyId"],
            secret_access_key=session["SecretAccessKey"],
            session_token=session["SessionToken"],
            expiration=session["Expiration"].astimezone(UTC),
            issued=_date(response["ResponseMetadata"]["HTTPHeaders"]) or self._now(),
        )


def _classified(call: Callable[[], Result]) -> Result:
    """Call, in the thread: what it raises otherwise would be in the hands of futures, which log tracebacks."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001  # raised below, without its text
        failure = classify(error)
    raise failure


def _caller(answer: "GetCallerIdentityResponseTypeDef") -> Caller:
    match = _CALLER.fullmatch(answer.get("Arn", ""))
    if match is None:
        text = f"GetCallerIdentity answered with no caller's ARN: {answer.get('Arn')!r}"
        raise FetchError(kind=FailureKind.TRANSIENT, code="OddAnswer", message=text)
    return Caller(match["partition"], match["account"], match["role"])


def _opened(client: "STSClient | None") -> "STSClient":
    if client is None:
        raise RuntimeError("the source has not been entered")
    return client


def _date(headers: dict[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None
