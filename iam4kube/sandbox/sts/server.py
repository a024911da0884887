"""STS as tests and the demo use it: started on a loopback port, with its trust policies, faults and books."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import format_datetime
from types import TracebackType
from typing import Self

from aiohttp import web

from iam4kube.runtime.clock import Now, utc_now
from iam4kube.sandbox.sts.errors import StsError, new_request_id
from iam4kube.sandbox.sts.faults import Effect, Faults
from iam4kube.sandbox.sts.service import StsService
from iam4kube.sandbox.sts.sessions import Session, instance_session
from iam4kube.sandbox.sts.trust import TrustPolicies

_CALLS_LIMIT = 100_000
_STOP_SECONDS = 0.1  # aiohttp waits so long for calls under way, then cancels them
_PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the books, entered when it ended."""

    action: str
    role_arn: str | None
    session_name: str | None
    external_id: str | None
    at: float
    """When it came, on the event loop's clock."""
    outcome: str
    """`Success`, the error's code, or `NoAnswer`."""


class Sts:
    """AWS STS on a loopback socket. Belongs to one event loop; use it with `async with`.

    `now` is AWS's clock: the `Date` header and every expiration follow it. With `known_only` a role without a
    trust policy is refused, as in AWS; otherwise it trusts everybody.
    """

    def __init__(
        self, *, region: str = "eu-central-1", port: int = 0, now: Now = utc_now, known_only: bool = False
    ) -> None:
        self.port = port
        """Where it listens; known after the first start when it was 0."""
        self.region = region
        self.faults = Faults()
        self.calls: deque[Call] = deque(maxlen=_CALLS_LIMIT)
        self.in_flight = 0
        """Calls that wait for their answer."""
        self.most_in_flight = 0
        self._service = StsService(now=now, known_only=known_only)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on 127.0.0.1. Raises `OSError` when the port is taken."""
        await self._service.start()
        application = web.Application()
        application.router.add_post("/", self._handle)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=_STOP_SECONDS)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = int(runner.addresses[0][1])
        self._runner = runner

    async def stop(self) -> None:
        """Close every connection and the port. Sessions, policies and faults stay; `start` listens again."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()
        self._service.stop()

    @property
    def url(self) -> str:
        """What an SDK takes as the endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def trust(self) -> TrustPolicies:
        """Who may assume which role."""
        return self._service.trust

    def limit_sessions(self, seconds: float | None) -> None:
        """Let sessions last so long, whatever was asked for (AWS itself goes no lower than 900 s); None: as asked."""
        self._service.session_lifetime = seconds

    def credentials(self) -> dict[str, str]:
        """The credentials of `SERVER_ROLE`, as boto3 takes them."""
        return _as_boto3(self._service.instance)

    def add_instance(self, role_arn: str, *, session_name: str) -> dict[str, str]:
        """Credentials of another instance, with this role and without end, as boto3 takes them."""
        session = instance_session(role_arn, session_name=session_name)
        self._service.sessions.add(session)
        return _as_boto3(session)

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to call this STS as `SERVER_ROLE`."""
        return {name.upper(): value for name, value in self.credentials().items()} | {
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL_STS": self.url,
        }

    def disown_server(self) -> None:
        """Refuse the credentials of `SERVER_ROLE` from now on."""
        self._service.sessions.forget(self._service.instance.access_key_id)

    def recognize_server(self) -> None:
        """Accept them again."""
        self._service.sessions.add(self._service.instance)

    def count(self, role_arn: str | None = None, *, action: str = "AssumeRole", outcome: str | None = None) -> int:
        """How many calls have ended: for one role or all, with one outcome or any."""
        return sum(
            call.action == action and role_arn in (None, call.role_arn) and outcome in (None, call.outcome)
            for call in self.calls
        )

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await http.post()).items()}
        began, outcome = asyncio.get_running_loop().time(), "NoAnswer"
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            response = await self._obstruct(http, form)
            if response is None:
                response = self._response(200, await self._service.answer(http.headers, form))
                outcome = "Success"
        except StsError as error:
            outcome = error.code
            response = self._response(error.status, error.xml())
        finally:
            self.in_flight -= 1
            self._enter(form, began=began, outcome=outcome)
        return response

    async def _obstruct(self, http: web.Request, form: Mapping[str, str]) -> web.Response | None:
        """Latency and faults; a response when that is all the caller gets."""
        await asyncio.sleep(self.faults.latency)
        fault = self.faults.take(form.get("RoleArn"))
        if fault is None:
            return None
        if fault.error is not None:
            raise fault.error
        if fault.effect is Effect.HANG:
            await asyncio.Event().wait()  # until the caller hangs up or the server stops
        if fault.effect is Effect.DROP and http.transport is not None:
            http.transport.abort()
        return web.Response(status=502, text=_PROXY_PAGE, content_type="text/html")

    def _response(self, status: int, xml: str) -> web.Response:
        headers = {
            "Date": format_datetime(self._service.now(), usegmt=True),
            "x-amzn-RequestId": new_request_id(),
        }
        return web.Response(status=status, text=xml, content_type="text/xml", headers=headers)

    def _enter(self, form: Mapping[str, str], *, began: float, outcome: str) -> None:
        self.calls.append(
            Call(
                action=form.get("Action", ""),
                role_arn=form.get("RoleArn"),
                session_name=form.get("RoleSessionName"),
                external_id=form.get("ExternalId"),
                at=began,
                outcome=outcome,
            )
        )


def _as_boto3(session: Session) -> dict[str, str]:
    return {
        "aws_access_key_id": session.access_key_id,
        "aws_secret_access_key": session.secret_access_key,
        "aws_session_token": session.session_token,
    }
