"""The API server as a node agent asks it: one session, plain JSON, and a watch that never ends."""

import json
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.support.controlplane import ADMIN_TOKEN, ControlPlane

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
_REQUESTS_AT_ONCE = 64  # watches included
_LINE_LIMIT = 1 << 20

Object = dict[str, Any]


class NotFound(Exception):
    """There is no such object, or none with that UID."""


class Api:
    """The administrator's session. Use it with `async with`."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self._control_plane.url,
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
            connector=aiohttp.TCPConnector(
                ssl=ssl.create_default_context(cafile=str(self._control_plane.ca_file)), limit=_REQUESTS_AT_ONCE
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            read_bufsize=_LINE_LIMIT,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, path: str) -> Object:
        """Read an object or a list. Raises `NotFound`."""
        return await self.ask("GET", path)

    async def patch(self, path: str, changes: Object, *, content_type: str = MERGE_PATCH) -> Object:
        """Change parts of an object. Raises `NotFound`."""
        return await self.ask("PATCH", path, changes, content_type=content_type)

    async def ask(
        self, method: str, path: str, body: Object | None = None, *, content_type: str = "application/json"
    ) -> Object:
        """Ask, and return the answer. Raises `NotFound`; `AssertionError` for any other refusal."""
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, path, data=data, headers={"Content-Type": content_type}) as response:
            content = await response.read()
            if response.status == 404 or (response.status == 409 and method == "DELETE"):  # 409: it has another UID
                raise NotFound(path)
            assert response.ok, f"{method} {path}: {content.decode()}"
            answer: Object = json.loads(content)
            return answer

    async def watch(self, path: str) -> AsyncIterator[tuple[str, Object]]:
        """All objects of a list, with a query in its path, as ADDED; then every change of them, for ever."""
        while True:
            listed = await self.get(path)
            for item in listed["items"]:
                yield "ADDED", item
            version = listed["metadata"]["resourceVersion"]
            async with self._session.get(f"{path}&watch=true&resourceVersion={version}") as response:
                async for line in response.content:
                    event = json.loads(line)
                    yield event["type"], event["object"]
