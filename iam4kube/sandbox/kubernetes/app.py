"""The API over HTTP: who asks (401), what goes wrong here on purpose, then the request itself."""

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from aiohttp import web

from iam4kube.sandbox.kubernetes.errors import ApiError
from iam4kube.sandbox.kubernetes.faults import Effect, Faults
from iam4kube.sandbox.kubernetes.requests import ApiRequest, parse_request
from iam4kube.sandbox.kubernetes.resources import Object
from iam4kube.sandbox.kubernetes.store import Store
from iam4kube.sandbox.kubernetes.tokens import Tokens
from iam4kube.sandbox.kubernetes.verbs import Body, Verbs
from iam4kube.sandbox.kubernetes.watches import StreamReset, WatchStream

USER = "system:serviceaccount:sandbox:client"
"""The one user that every token stands for."""

_LOG_LIMIT = 10_000


@dataclass(frozen=True)
class Answered:
    """One request of the log, and the status of its answer (0: none was sent)."""

    request: ApiRequest
    status: int
    user_agent: str


class ApiApplication:
    """The HTTP side of the emulator."""

    def __init__(self, *, store: Store, verbs: Verbs, tokens: Tokens, faults: Faults) -> None:
        self.watches: set[WatchStream] = set()
        """The streams that are open now."""
        self.log: deque[Answered] = deque(maxlen=_LOG_LIMIT)
        """The last requests, in the order of their answers; a watch is logged when it begins."""
        self.bookmark_period = 60.0
        self.expiry_in_status = False
        self._store = store
        self._verbs = verbs
        self._tokens = tokens
        self._faults = faults

    def application(self) -> web.Application:
        """The aiohttp application: one route for everything."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        try:
            self._authenticate(http)
            if http.path in ("/healthz", "/livez", "/readyz"):
                return web.Response(text="ok")
            return await self._logged(http, parse_request(http.method, http.path, http.query))
        except ApiError as error:
            return _refusal(error)

    def _authenticate(self, http: web.Request) -> None:
        if not self._tokens.accepts(http.headers.get("Authorization", "")):
            raise ApiError(401, "Unauthorized")

    async def _logged(self, http: web.Request, request: ApiRequest) -> web.StreamResponse:
        agent = http.headers.get("User-Agent", "")
        try:
            await self._obstruct(request)
            if request.verb == "watch":
                stream = self._open_watch(request)
                self.log.append(Answered(request, 200, agent))
                return await self._stream(http, stream)
            response = await self._answer(http, request)
        except ApiError as error:
            self.log.append(Answered(request, error.code, agent))
            raise
        self.log.append(Answered(request, response.status, agent))
        return response

    async def _obstruct(self, request: ApiRequest) -> None:
        """The faults that come before the answer."""
        if (delay := self._faults.take(Effect.DELAY, request)) is not None:
            await asyncio.sleep(delay.seconds)
        if self._faults.take(Effect.HANG, request) is not None:
            await _for_ever()
        if (error := self._faults.refusal(request, user=USER)) is not None:
            raise error

    async def _answer(self, http: web.Request, request: ApiRequest) -> web.StreamResponse:
        body = Body(http.content_type, _decoded(await http.read()))
        status, obj = self._verbs.answer(request, body)
        encoded = msgspec.json.encode(obj)
        if self._faults.take(Effect.CUT, request) is not None:
            return await _cut_body(http, encoded)
        return web.Response(body=encoded, status=status, content_type="application/json")

    def _open_watch(self, request: ApiRequest) -> WatchStream:
        stream = WatchStream(self._store, request, bookmark_period=self.bookmark_period)
        try:
            stream.open()
        except ApiError as error:
            # The real one answers 200 with an ERROR event; proxies and older servers answer with the status.
            if self.expiry_in_status or error.code != 410:
                raise
            stream.offer(error)
        return stream

    async def _stream(self, http: web.Request, stream: WatchStream) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        self.watches.add(stream)
        try:
            await response.prepare(http)
            async with aclosing(stream.lines()) as lines:
                async for line in lines:
                    await self._write(response, stream.request, line)
        except (StreamReset, ConnectionError):
            _hang_up(http)
        finally:
            stream.close()
            self.watches.discard(stream)
        return response

    async def _write(self, response: web.StreamResponse, request: ApiRequest, line: bytes) -> None:
        if self._faults.take(Effect.SILENCE, request) is not None:
            await _for_ever()
        if self._faults.take(Effect.CUT, request) is not None:
            await response.write(line[: len(line) // 2])
            raise StreamReset
        await response.write(line)


def _refusal(error: ApiError) -> web.Response:
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    body = msgspec.json.encode(error.status())
    return web.Response(body=body, status=error.code, headers=headers, content_type="application/json")


def _decoded(body: bytes) -> Object:
    if not body:
        return {}
    try:
        return msgspec.json.decode(body, type=Object)
    except msgspec.MsgspecError as error:
        raise ApiError(400, f"the object provided is unrecognized: {error}") from error


async def _cut_body(http: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(http)
    await response.write(body[: len(body) // 2])
    _hang_up(http)
    return response


def _hang_up(http: web.Request) -> None:
    """Close the connection once what was written has been sent."""
    if http.transport is not None:
        http.transport.close()


async def _for_ever() -> None:
    """Until the client hangs up or the server stops: both cancel the handler."""
    await asyncio.Event().wait()
