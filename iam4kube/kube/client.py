"""Requests to the API server: raw answers over the official client's transport.

`kubernetes.aio` brings TLS, proxies and authentication; its typed methods and models are not used. The
transport is rebuilt whenever the configuration has changed (a rotated token, a new CA): every so often, and
soon after a 401. A watch that is open goes on over the transport on which it began.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from iam4kube.kube.configuration import ConfigurationSource, fingerprint
from iam4kube.kube.errors import KubeConfigError, KubeSilent, KubeUnreachable, refusal
from iam4kube.kube.resources import Resource, Watched

T = TypeVar("T", bound=Watched)
Query = Mapping[str, str]

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 5.0  # seconds for TCP and TLS each
_REQUEST_TIMEOUT = 60.0  # seconds in all: kube-apiserver's own --request-timeout
_RELOAD_PAUSE = 5.0  # seconds between two reloads that a 401 asks for
_JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"


@dataclass(frozen=True)
class Response:
    """A complete answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def checked(self) -> bytes:
        """The body of a success. Raises `KubeRefused`."""
        if not 200 <= self.status < 300:
            raise refusal(self.status, self.headers, self.body)
        return self.body


class KubeClient:
    """One API server, as one identity. An asynchronous context manager; owns the transport.

    `run` keeps the configuration fresh and has to run beside the requests.
    """

    def __init__(self, source: ConfigurationSource, *, user_agent: str, reload_pause: float = _RELOAD_PAUSE) -> None:
        self._source = source
        self._user_agent = user_agent
        self._reload_pause = reload_pause
        self._rejected = asyncio.Event()
        self._transport: _Transport | None = None

    async def __aenter__(self) -> Self:
        """Load the configuration. Raises `KubeConfigError`; asks the API server nothing yet."""
        self._transport = self._built(await self._source.load())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    @property
    def host(self) -> str:
        """The API server's URL."""
        return self._current.host

    async def request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object | None = None,
        *,
        content_type: str = _JSON,
        timeout: float = _REQUEST_TIMEOUT,
    ) -> Response:
        """Ask, and read the whole answer, within `timeout` seconds. Raises `KubeUnreachable`; for no status."""
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_TIMEOUT)
        async with self._exchange(method, path, query, body, content_type=content_type, timeout=limits) as response:
            return Response(response.status, response.headers, await response.read())

    @asynccontextmanager
    async def stream(self, path: str, query: Query, *, idle_timeout: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """Ask, and give the answer's pieces as they come, until the server ends it.

        Raises `KubeRefused` for an error status, and `KubeUnreachable`, also out of the pieces: cut off, or
        silent for `idle_timeout` seconds.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=idle_timeout)
        async with self._exchange("GET", path, query, None, content_type=_JSON, timeout=limits) as response:
            if response.status != 200:
                raise refusal(response.status, response.headers, await response.read())
            yield response.content.iter_any()

    async def get(
        self, resource: Resource[T], *, namespace: str, name: str, timeout: float = _REQUEST_TIMEOUT
    ) -> T | None:
        """Read one object as it stands now (a quorum read), within `timeout` seconds; None: there is none.

        `namespace` is empty for a cluster-scoped kind. Raises `KubeError`.
        """
        response = await self.request("GET", resource.object_path(namespace=namespace, name=name), timeout=timeout)
        return None if response.status == 404 else resource.decode(response.checked())

    async def run(self) -> None:
        """Reload the configuration every so often and, with a pause in between, after a 401. Never returns."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._source.reload_every):
                    await self._rejected.wait()
            self._rejected.clear()
            await self._reload()
            await asyncio.sleep(self._reload_pause)

    async def _reload(self) -> None:
        try:
            configuration = await self._source.load()
            if fingerprint(configuration) == self._current.fingerprint:
                return
            transport = self._built(configuration)
        except (KubeConfigError, OSError) as error:
            _log.warning("Kubernetes configuration not reloaded; the last one stays", extra={"error": str(error)})
            return
        retired, self._transport = self._current, transport
        _log.info("Kubernetes configuration reloaded", extra={"host": self.host})
        await retired.retire()

    def _built(self, configuration: Configuration) -> "_Transport":
        """Raises `KubeConfigError` for certificates and keys that are none: they are read now, not by the source."""
        try:
            return _Transport(configuration, user_agent=self._user_agent)
        except OSError as error:
            files = [configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file]
            named = ", ".join(str(file) for file in files if file)
            raise KubeConfigError(f"certificates and keys in {named}: {error}; put valid PEM there") from error

    @property
    def _current(self) -> "_Transport":
        if self._transport is None:
            raise RuntimeError("the client is not open: use it as a context manager")
        return self._transport

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: object | None,
        *,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {
            "Accept": _JSON,
            # An answer of 463 MB took 7.6 s with gzip and 4.2 s without.
            "Accept-Encoding": "identity",
            "Content-Type": content_type,
        }
        try:
            async with self._current.send(method, path, query, headers, body, timeout=timeout) as response:
                if response.status == 401:
                    self._rejected.set()
                yield response
        except aiohttp.SocketTimeoutError as error:
            raise KubeSilent(f"{self._current.host}: {error}") from error
        except (aiohttp.InvalidURL, aiohttp.ClientResponseError) as error:
            # Their text has a URL in it, and that may be the proxy's with its password; in a traceback, too.
            told = f"{error.status} {error.message}" if isinstance(error, aiohttp.ClientResponseError) else "no URL"
            raise KubeUnreachable(f"{self._current.host}: {type(error).__name__}: {told}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KubeUnreachable(f"{self._current.host}: {str(error) or type(error).__name__}") from error


class _Transport:
    """One built configuration: its TLS context, its connections. Closes when it is retired and nobody uses it."""

    def __init__(self, configuration: Configuration, *, user_agent: str) -> None:
        self.host: str = configuration.host
        self.fingerprint = fingerprint(configuration)
        self._api = ApiClient(configuration)
        self._api.user_agent = user_agent
        self._users = 0
        self._retired = False

    @asynccontextmanager
    async def send(
        self,
        method: str,
        path: str,
        query: Query | None,
        headers: dict[str, str],
        body: Any,
        *,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        self._users += 1
        try:
            request = await self._api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = (await self._api.call_api(*request, _request_timeout=timeout)).response
            try:
                yield response
            finally:
                response.close()  # a stream's connection; one that was read to its end is back in the pool
        finally:
            self._users -= 1
            await self._close_if_unused()

    async def retire(self) -> None:
        self._retired = True
        await self._close_if_unused()

    async def close(self) -> None:
        await self._api.close()

    async def _close_if_unused(self) -> None:
        if self._retired and not self._users:
            await self._api.close()
