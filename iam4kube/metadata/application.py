"""The metadata API: authentication, then the path, then who asks, then what they get.

What is known already is answered by a plain function, `respond`: a server that knows it needs no task for the
request. As an ASGI application it can wait as well. A request that waits ends when its client hangs up, at its
deadline, and at shutdown.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from iam4kube.kube.objects import Address
from iam4kube.metadata.answers import Answers
from iam4kube.metadata.authentication import Authenticator
from iam4kube.metadata.lookup import Answer, Place, RoleAnswer
from iam4kube.metadata.metrics import GONE, MetadataMetrics
from iam4kube.metadata.peer import peer_address
from iam4kube.metadata.requests import Request, read_request
from iam4kube.metadata.responses import CLOSE, METHOD_NOT_ALLOWED, NOT_FOUND, Response
from iam4kube.metadata.routes import PLACE_ROUTES, TOKEN_ROUTES, Route
from iam4kube.metadata.waiting import ClientGone, TooManyWaiting, WaitingRoom, unless_gone
from iam4kube.roles import Role
from iam4kube.runtime.asgi import Receive, Scope, Send

logger = logging.getLogger(__name__)

_CLOSE_BOUND = 5.0
"""Seconds. An aborted connection is reported lost in the next turn of the loop."""

T = TypeVar("T")

CLOSE_EXTENSION = "iam4kube.close"
"""In the scope's extensions: a function that closes the connection at once. Answering nothing is no part of ASGI."""


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

    def respond(self, request: Request) -> Response | None:
        """The response if it is known now, else None: then call the ASGI application. Never raises."""
        started = self._time()
        try:
            response = self._known(request)
        except Exception:  # noqa: BLE001  # logged, with its traceback, where the response is chosen
            response = self._defect(request)
        if response is not None:
            self._metrics.answered(request.route, response.label, request.authentication, self._time() - started)
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or close its connection."""
        address = peer_address(scope["client"])
        if address is None:
            await _close(scope, receive)
            return
        request = read_request(address, scope["method"], scope["raw_path"], scope["headers"])
        response = self.respond(request) or await self._waited_for(request, receive)
        if response is CLOSE:
            await _close(scope, receive)
        elif response is not None:
            await response.send(send, ttl=request.echoed_ttl)

    def _known(self, request: Request) -> Response | None:
        refusal = self._authenticator.answer(request)
        if refusal is not None:
            return refusal
        if request.route in TOKEN_ROUTES:
            return METHOD_NOT_ALLOWED
        if request.route is Route.UNKNOWN or request.method not in {"GET", "HEAD"}:
            return NOT_FOUND
        if request.route in PLACE_ROUTES:
            place = self._lookups.peek_place(request.address)
            return None if place is None else self._of_place(request, place)
        answer = self._lookups.peek(request.address)
        return None if answer is None else self._answers.of_role(request, answer)

    async def _waited_for(self, request: Request, receive: Receive) -> Response | None:
        """The response, waited for; None when the client hung up first."""
        started = self._time()
        response: Response | None = None
        try:
            response = await self._settled(request, receive)
        except ClientGone:
            pass
        except TooManyWaiting:
            response = self._answers.unavailable(request, "too_many_waiting")
        except Exception:  # noqa: BLE001  # logged, with its traceback, where the response is chosen
            response = self._defect(request)
        label = GONE if response is None else response.label
        self._metrics.answered(request.route, label, request.authentication, self._time() - started)
        return response

    async def _settled(self, request: Request, receive: Receive) -> Response:
        if request.route in PLACE_ROUTES:
            return self._of_place(request, await self._wait(self._lookups.place, request, receive))
        return self._answers.of_role(request, await self._wait(self._lookups.answer, request, receive))

    async def _wait(self, ask: Callable[..., Coroutine[Any, Any, T]], request: Request, receive: Receive) -> T:
        with self._waiting.seat(request.address):
            deadline = self._time() + self._request_deadline
            return await unless_gone(ask(request.address, deadline=deadline), receive)

    def _of_place(self, request: Request, place: Place) -> Response:
        return self._answers.of_place(request, place, role=self._known_role(request))

    def _known_role(self, request: Request) -> Role | None:
        """The role if it is settled: the identity document leaves the account out rather than wait for it."""
        if request.route is not Route.IDENTITY_DOCUMENT:
            return None
        answer = self._lookups.peek(request.address)
        return answer.identified.role if isinstance(answer, RoleAnswer) else None

    def _defect(self, request: Request) -> Response:
        """An exception nobody expected: the client gets neither a body nor a traceback."""
        logger.exception("Request failed", extra={"route": request.route})
        return self._answers.unavailable(request, "defect")


async def _close(scope: Scope, receive: Receive) -> None:
    """Close the connection, and stay until it is closed: returning earlier would make the server answer 500.

    Bounded, since nothing else counts what stays here: its wait is over, its seat is free, its connection closed.
    """
    scope["extensions"][CLOSE_EXTENSION]()
    try:
        async with asyncio.timeout(_CLOSE_BOUND):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        logger.error("A connection that was closed has not been reported lost")  # noqa: TRY400  # no trace to see
