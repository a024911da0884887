"""The metadata API as an ASGI application: authentication, then the path, then who asks, then what they get.

What is known already is answered without suspending. Only a request that has to wait pays for being able to:
it ends when its client hangs up, at its deadline, and at shutdown.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from iam4kube.kube.objects import Address
from iam4kube.metadata.answers import CLOSE, Answers
from iam4kube.metadata.authentication import Authenticator
from iam4kube.metadata.lookup import Answer, Place, RoleAnswer
from iam4kube.metadata.metrics import MetadataMetrics
from iam4kube.metadata.peer import peer_address
from iam4kube.metadata.requests import Request, read_request
from iam4kube.metadata.responses import METHOD_NOT_ALLOWED, NOT_FOUND, Response
from iam4kube.metadata.routes import Route
from iam4kube.metadata.waiting import ClientGone, TooManyWaiting, WaitingRoom, unless_gone
from iam4kube.roles import Role
from iam4kube.runtime.asgi import Receive, Scope, Send

logger = logging.getLogger(__name__)

T = TypeVar("T")

CLOSE_EXTENSION = "iam4kube.close"
"""In the scope's extensions: a function that closes the connection at once. Answering nothing is no part of ASGI."""

_PLACE_ROUTES = frozenset({Route.REGION, Route.ZONE, Route.IDENTITY_DOCUMENT})
_TOKEN_ROUTES = frozenset({Route.TOKEN, Route.OTHER_TOKEN})


class Lookups(Protocol):
    """From an address to an answer: `metadata.lookup.Lookup`."""

    def peek(self, address: Address) -> Answer | None:
        """The answer if it is settled already."""
        ...

    def answer(self, address: Address, *, deadline: float) -> Coroutine[Any, Any, Answer]:
        """The answer, waited for until `deadline` (the loop's clock, seconds)."""
        ...

    def peek_place(self, address: Address) -> Place | None:
        """Where the asker runs if that is settled already."""
        ...

    def place(self, address: Address, *, deadline: float) -> Coroutine[Any, Any, Place]:
        """Where the asker runs, waited for until `deadline` (the loop's clock, seconds)."""
        ...


class Application:
    """Serves pods. `request_deadline` is how long a request may wait, in seconds."""

    def __init__(
        self,
        *,
        lookups: Lookups,
        authenticator: Authenticator,
        waiting: WaitingRoom,
        metrics: MetadataMetrics,
        request_deadline: float,
    ) -> None:
        self._lookups = lookups
        self._authenticator = authenticator
        self._waiting = waiting
        self._metrics = metrics
        self._answers = Answers(metrics)
        self._request_deadline = request_deadline
        self._time: Callable[[], float] = asyncio.get_running_loop().time
        metrics.count_waiting(waiting.__len__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or close its connection."""
        started = self._time()
        address = peer_address(scope)
        if address is None:
            await _close(scope, receive)
            return
        request = read_request(scope, address)
        try:
            response = await self._response(request, receive)
        except ClientGone:
            label = "gone"
        else:
            if response is CLOSE:
                label = "closed"
                await _close(scope, receive)
            else:
                label = response.label
                await response.send(send, ttl=request.echoed_ttl)
        self._metrics.answered(request.route, label, request.authentication, self._time() - started)

    async def _response(self, request: Request, receive: Receive) -> Response | None:
        try:
            return self._refusal(request) or await self._resource(request, receive)
        except TooManyWaiting:
            return self._answers.unavailable(request, "too_many_waiting")
        except ClientGone:
            raise
        except Exception:  # a defect of ours: the client must get neither a body nor a traceback
            logger.exception("Request failed", extra={"route": request.route})
            return self._answers.unavailable(request, "defect")

    def _refusal(self, request: Request) -> Response | None:
        """What needs no identity."""
        refusal = self._authenticator.answer(request)
        if refusal is not None:
            return refusal
        if request.route in _TOKEN_ROUTES:
            return METHOD_NOT_ALLOWED
        if request.route is Route.UNKNOWN or not request.reads:
            return NOT_FOUND
        return None

    async def _resource(self, request: Request, receive: Receive) -> Response | None:
        if request.route in _PLACE_ROUTES:
            place = self._lookups.peek_place(request.address)
            if place is None:
                place = await self._wait(self._lookups.place, request, receive)
            return self._answers.of_place(request, place, role=self._known_role(request))
        answer = self._lookups.peek(request.address)
        if answer is None:
            answer = await self._wait(self._lookups.answer, request, receive)
        return self._answers.of_role(request, answer)

    def _known_role(self, request: Request) -> Role | None:
        """The role if the answer says it: the account is left out rather than waited for."""
        if request.route is not Route.IDENTITY_DOCUMENT:
            return None
        answer = self._lookups.peek(request.address)
        return answer.identified.role if isinstance(answer, RoleAnswer) else None

    async def _wait(self, ask: "Callable[..., Coroutine[Any, Any, T]]", request: Request, receive: Receive) -> T:
        with self._waiting.seat(request.address):
            deadline = self._time() + self._request_deadline
            return await unless_gone(ask(request.address, deadline=deadline), receive)


async def _close(scope: Scope, receive: Receive) -> None:
    """Close the connection, and stay until it is closed: returning earlier would make the server answer 500."""
    scope["extensions"][CLOSE_EXTENSION]()
    while (await receive())["type"] != "http.disconnect":
        pass
