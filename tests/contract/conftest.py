"""The same tests against the emulated API server and a real one."""

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from iam4kube.sandbox.kubernetes import KubernetesApi
from tests.support.controlplane import ADMIN_TOKEN, ControlPlane

_numbers = itertools.count()


@dataclass(frozen=True)
class Answer:
    """A status, the decoded body, and the headers."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class ApiServer:
    """An API server to ask, with a namespace of the test's own in it."""

    session: aiohttp.ClientSession
    namespace: str
    forget_history: Callable[[], Awaitable[None]]
    """Makes every earlier resourceVersion and continue token too old."""

    def path(self, plural: str, name: str = "") -> str:
        """Where a namespaced resource is."""
        root = "/apis/discovery.k8s.io/v1" if plural == "endpointslices" else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    async def ask(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **query: str
    ) -> Answer:
        """One request; `continue_` stands for the option `continue`."""
        options = {name.rstrip("_"): value for name, value in query.items()}
        data = None if body is None else json.dumps(body)
        async with self.session.request(
            method, path, params=options, data=data, headers={"Content-Type": content_type}
        ) as response:
            return Answer(response.status, json.loads(await response.read()), response.headers)

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """The body of a GET that must succeed."""
        answer = await self.ask("GET", path, **query)
        assert answer.status == 200, answer
        return answer.body

    async def create(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object, in the test's namespace unless its type has none."""
        plural = f"{obj['kind'].lower()}s"
        body = {**obj, "metadata": {**obj["metadata"]}}
        body["metadata"].pop("namespace", None)
        answer = await self.ask("POST", "/api/v1/nodes" if plural == "nodes" else self.path(plural), body)
        assert answer.status == 201, answer
        return answer.body

    async def watch(
        self, path: str, *, meanwhile: Awaitable[object] | None = None, **query: str
    ) -> list[dict[str, Any]]:
        """All events of a watch, until the server ends it; `meanwhile` happens once it is open."""
        query = {"watch": "true", "timeoutSeconds": "1", **query}
        async with self.session.get(path, params=query) as response:
            assert response.status == 200, await response.text()
            if meanwhile is not None:
                await meanwhile
            return [json.loads(line) async for line in response.content]


@asynccontextmanager
async def emulated() -> AsyncIterator[ApiServer]:
    """The emulator."""
    async with KubernetesApi() as api, _session(api.url, api.token) as session:
        namespace = f"contract-{next(_numbers)}"
        api.create_namespace(namespace)

        async def forget_history() -> None:
            api.advance()
            api.compact()

        yield ApiServer(session, namespace, forget_history)


@asynccontextmanager
async def real(control_plane: ControlPlane) -> AsyncIterator[ApiServer]:
    """The real one."""
    tls = ssl.create_default_context(cafile=str(control_plane.ca_file))
    async with _session(control_plane.url, ADMIN_TOKEN, tls) as session:
        namespace = f"contract-{next(_numbers)}"
        control_plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        yield ApiServer(session, namespace, lambda: asyncio.to_thread(control_plane.forget_history))


def _session(url: str, token: str, tls: ssl.SSLContext | bool = True) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        url, headers={"Authorization": f"Bearer {token}"}, connector=aiohttp.TCPConnector(ssl=tls)
    )


@pytest.fixture(
    params=[pytest.param("emulator", marks=pytest.mark.looptime), pytest.param("cluster", marks=pytest.mark.cluster)]
)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ApiServer]:
    """An API server: emulated, and real where there is one."""
    cluster = request.param == "cluster"
    async with real(request.getfixturevalue("control_plane")) if cluster else emulated() as api_server:
        yield api_server
