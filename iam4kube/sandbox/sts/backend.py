"""moto, called in-process as the WSGI application that it is, in one thread of its own.

A call takes about a millisecond and changes dictionaries without a lock, so it may neither run on the event loop nor
in two threads at once. moto's state is global to the process, and it never forgets a session: the oldest are taken
out of it here.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from iam4kube.sandbox.sts.requests import Caller

_WARM_UP_ACCOUNT = "000000000000"
_WARM_UP_ROLE = f"arn:aws:iam::{_WARM_UP_ACCOUNT}:role/warm-up"
_SESSIONS_LIMIT = 20_000  # an account: twice the roles of the largest supported cluster


class MotoBackend:
    """Answers calls that have passed every check."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._post: Callable[..., Any] | None = None

    async def start(self) -> None:
        """Load moto and let it answer once: the first time in a process, that takes a second."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="moto")
        self._post = await asyncio.get_running_loop().run_in_executor(self._thread, _load)
        warm_up = {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": _WARM_UP_ROLE,
            "RoleSessionName": "warm-up",
        }
        await self.call(
            Caller(access_key_id="none", session_token="", region="eu-central-1"), warm_up, account=_WARM_UP_ACCOUNT
        )

    async def call(self, caller: Caller, form: Mapping[str, str], *, account: str) -> str:
        """The XML of moto's answer to a call that concerns this account."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._call, caller, dict(form), account)

    def stop(self) -> None:
        """End the thread once what it is doing is done."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None

    def _call(self, caller: Caller, form: Mapping[str, str], account: str) -> str:
        if self._post is None:
            raise RuntimeError("the backend has not been started")
        scope = f"Credential={caller.access_key_id}/20260101/{caller.region}/sts/aws4_request"
        headers = {
            "Host": f"sts.{caller.region}.amazonaws.com",
            "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
        }
        response = self._post("/", data=dict(form), headers=headers)
        _forget_oldest(account)
        return str(response.get_data(as_text=True))


def _load() -> Callable[..., Any]:
    from moto.moto_server.werkzeug_app import create_backend_app
    from werkzeug.test import Client

    return Client(create_backend_app("sts")).post


def _forget_oldest(account: str) -> None:
    from moto.iam.models import iam_backends
    from moto.sts.models import sts_backends

    for partition, backend in sts_backends[account].items():
        while len(backend.assumed_roles) > _SESSIONS_LIMIT:
            oldest = backend.assumed_roles.pop(0)
            iam_backends[account][partition].access_keys.pop(oldest.access_key_id, None)
