"""The session of the role in between, kept fresh: one call at a time, whoever needs it first.

It is fetched again at half of its life. If that fails, the old one is used until it expires; every pod's role
depends on it, so a failure is everybody's, and is remembered for a few seconds instead of being repeated.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

from iam4kube.credentials.sts_client import SessionCredentials
from iam4kube.credentials.values import Credentials, FetchError

INTERMEDIATE_SESSION_NAME = "iam4kube"

_RETRY = 5.0

logger = logging.getLogger(__name__)


class Intermediate:
    """Owns the session. `assume` fetches one; it raises `FetchError`."""

    def __init__(self, session: SessionCredentials, assume: Callable[[], Awaitable[Credentials]]) -> None:
        self._session = session
        self._assume = assume
        self._refresh_at = self._expires_at = self._retry_at = -math.inf
        self._error: FetchError | None = None
        self._refreshing: asyncio.Task[None] | None = None

    async def ensure(self) -> None:
        """Return once there is an unexpired session. Raises `FetchError`."""
        now = asyncio.get_running_loop().time()
        if now >= self._refresh_at and now >= self._retry_at and self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh(), name="intermediate role session")
        if now < self._expires_at:
            return
        if self._refreshing is not None:
            await asyncio.shield(self._refreshing)
        if self._error is not None:
            raise FetchError(kind=self._error.kind, code=self._error.code, message=self._error.message)

    def distrust(self) -> None:
        """STS does not take the session: get another one before the next call."""
        self._refresh_at = self._expires_at = -math.inf

    async def close(self) -> None:
        """End the refresh under way."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])

    async def _refresh(self) -> None:
        started = asyncio.get_running_loop().time()
        try:
            credentials = await self._assume()
        except FetchError as error:
            self._error = error
            self._retry_at = asyncio.get_running_loop().time() + _RETRY
            logger.warning("The role in between is not assumed", extra={"code": error.code, "error": error.message})
        else:
            self._error = None
            self._use(credentials, started)
        finally:
            self._refreshing = None

    def _use(self, credentials: Credentials, started: float) -> None:
        self._session.replace(
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
            session_token=credentials.session_token,
        )
        lifetime = (credentials.expiration - credentials.issued).total_seconds()
        self._refresh_at = started + lifetime / 2
        self._expires_at = started + lifetime
