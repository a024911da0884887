"""What goes wrong on demand between a client and the emulated API server."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from iam4kube.sandbox.kubernetes import KubernetesApi, objects
from iam4kube.sandbox.kubernetes.errors import ApiError

PODS = "/api/v1/pods"


@pytest.fixture
async def api() -> AsyncIterator[KubernetesApi]:
    """An API server with one pod."""
    async with KubernetesApi() as api:
        api.create(objects.pod("web", addresses=["10.1.0.1"]))
        yield api


@dataclass(frozen=True)
class Answer:
    """A status, the decoded body, and the headers."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str] = field(repr=False)


class Client:
    """Asks the API server with its token, and closes what it opened."""

    def __init__(self, api: KubernetesApi, session: aiohttp.ClientSession) -> None:
        self._api = api
        self._session = session
        self._watches: list[aiohttp.ClientResponse] = []

    async def get(self, path: str = PODS, *, timeout: float = 300, token: str = "", **query: str) -> Answer:
        """One request; `timeout` in seconds."""
        headers = {"Authorization": f"Bearer {token or self._api.token}"}
        limit = aiohttp.ClientTimeout(total=timeout)
        async with self._session.get(path, params=query, headers=headers, timeout=limit) as response:
            return Answer(response.status, json.loads(await response.read()), response.headers)

    async def watch(self, path: str = PODS) -> aiohttp.StreamReader:
        """What comes from now on, with bookmarks."""
        query = {"watch": "true", "resourceVersion": self._api.resource_version, "allowWatchBookmarks": "true"}
        headers = {"Authorization": f"Bearer {self._api.token}"}
        response = await self._session.get(path, params=query, headers=headers)
        self._watches.append(response)
        return response.content

    def close(self) -> None:
        """End all watches."""
        for response in self._watches:
            response.close()


@pytest.fixture
async def client(api: KubernetesApi) -> AsyncIterator[Client]:
    """A client that may do everything."""
    no_limit = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(api.url, timeout=no_limit) as session:
        client = Client(api, session)
        yield client
        client.close()


async def next_type(watch: aiohttp.StreamReader) -> str:
    """The type of the next event; empty at the end of the stream."""
    line = await watch.readline()
    return str(json.loads(line)["type"]) if line else ""


async def everything(watch: aiohttp.StreamReader, received: bytearray) -> None:
    """Receive until the stream ends."""
    while chunk := await watch.readany():
        received += chunk


async def test_a_refusal_strikes_as_often_as_it_should(client: Client, api: KubernetesApi) -> None:
    """Once means once, only the named verb is hit, and Retry-After is in the header and in the Status."""
    fault = api.faults.refuse(429, verb="list", resource="pods", times=1, retry_after=3)
    assert (await client.get("/api/v1/nodes")).status == 200
    first = await client.get()
    assert (first.status, first.headers["Retry-After"]) == (429, "3")
    assert first.body["details"]["retryAfterSeconds"] == 3
    assert (await client.get()).status == 200
    assert fault.hits == 1
    assert [answered.status for answered in api.requests] == [200, 429, 200]
    assert api.count("list", "pods") == 2


async def test_a_lifted_fault_strikes_no_more(client: Client, api: KubernetesApi) -> None:
    """Lifting one fault leaves the others at work."""
    unavailable = api.faults.refuse(503)
    api.faults.refuse(500, verb="list")
    assert (await client.get()).status == 503
    unavailable.lift()
    assert (await client.get()).status == 500
    api.faults.clear()
    assert (await client.get()).status == 200


async def test_forbidden_names_verb_and_resource(client: Client, api: KubernetesApi) -> None:
    """The message is RBAC's."""
    api.faults.forbid(verb="list", resource="pods")
    response = await client.get("/api/v1/namespaces/shop/pods")
    assert response.status == 403
    assert response.body["message"] == (
        'pods is forbidden: User "system:serviceaccount:sandbox:client" cannot list resource "pods" '
        'in API group "" in the namespace "shop"'
    )


@pytest.mark.looptime
async def test_a_delay_is_exact(client: Client, api: KubernetesApi) -> None:
    """A delayed answer is an answer, later."""
    api.faults.delay(7.5, verb="list")
    began = asyncio.get_running_loop().time()
    assert (await client.get()).status == 200
    assert asyncio.get_running_loop().time() - began == pytest.approx(7.5, abs=0.1)


async def test_a_request_that_hangs_ends_with_its_client(client: Client, api: KubernetesApi) -> None:
    """No answer comes, and nothing is left when the client has gone."""
    api.faults.hang(verb="list")
    with pytest.raises(TimeoutError):
        await client.get(timeout=0.05)
    assert (await client.get("/api/v1/namespaces/default/pods/web")).status == 200


async def test_a_cut_list_ends_in_the_middle(client: Client, api: KubernetesApi) -> None:
    """The promised length does not arrive; the next list is whole."""
    api.faults.cut(verb="list")
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.get()
    assert len((await client.get()).body["items"]) == 1


async def test_a_cut_watch_ends_in_the_middle_of_a_line(client: Client, api: KubernetesApi) -> None:
    """Half a line arrives, then the connection closes without an end of the body."""
    watch = await client.watch()
    api.faults.cut(verb="watch", resource="pods")
    api.create(objects.pod("other"))
    line = bytearray()
    with pytest.raises(aiohttp.ClientPayloadError):
        await everything(watch, line)
    assert line.startswith(b'{"type":"ADDED"')
    assert not line.endswith(b"\n")


async def test_a_watch_that_fell_silent_stays_silent(client: Client, api: KubernetesApi) -> None:
    """The connection stays open and nothing comes, even after the fault is lifted; other watches are well."""
    watch, nodes = await client.watch(), await client.watch("/api/v1/nodes")
    fault = api.faults.silence(resource="pods")
    api.create(objects.pod("other"))
    api.create(objects.node("node-a"))
    assert await next_type(nodes) == "ADDED"
    fault.lift()
    api.send_bookmarks()
    assert await next_type(nodes) == "BOOKMARK"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await watch.readany()
    assert api.open_watches == 2
    again = await client.watch()
    api.send_bookmarks()
    assert await next_type(again) == "BOOKMARK"


async def test_watches_end_as_told(client: Client, api: KubernetesApi) -> None:
    """In good order, with an ERROR event, or with a reset; each type of object for itself."""
    first, second, nodes = [await client.watch(path) for path in (PODS, PODS, "/api/v1/nodes")]
    api.fail_watches(ApiError(500, "injected"), "pods")
    assert [await next_type(first), await next_type(first)] == ["ERROR", ""]
    assert [await next_type(second), await next_type(second)] == ["ERROR", ""]
    third = await client.watch()
    api.end_watches("pods")
    assert await next_type(third) == ""
    api.reset_watches()
    with pytest.raises(aiohttp.ClientPayloadError):
        await nodes.readany()


async def test_an_expired_watch_can_be_a_status(client: Client, api: KubernetesApi) -> None:
    """Some servers and proxies answer 410 with the status, not in the stream."""
    version = api.resource_version
    api.advance()
    api.compact(expiry_in_status=True)
    response = await client.get(watch="true", resourceVersion=version)
    assert (response.status, response.body["reason"]) == (410, "Expired")


async def test_an_open_watch_survives_compaction(client: Client, api: KubernetesApi) -> None:
    """Compaction concerns who comes back, not who is there."""
    watch = await client.watch()
    api.create(objects.pod("other"))
    api.compact()
    assert await next_type(watch) == "ADDED"


@pytest.mark.looptime
async def test_bookmarks_come_every_minute(client: Client, api: KubernetesApi) -> None:
    """And carry the present version."""
    watch = await client.watch()
    api.advance()
    began = asyncio.get_running_loop().time()
    bookmark = json.loads(await watch.readline())
    assert bookmark["object"]["metadata"]["resourceVersion"] == api.resource_version
    assert await next_type(watch) == "BOOKMARK"
    assert asyncio.get_running_loop().time() - began == pytest.approx(120, abs=0.1)


@pytest.mark.looptime
async def test_tokens_expire_and_are_revoked(client: Client, api: KubernetesApi) -> None:
    """A token is good for its lifetime, unless it is revoked before."""
    token = api.tokens.issue(lifetime=60)
    assert (await client.get(token=token)).status == 200
    await asyncio.sleep(60)
    assert (await client.get(token=token)).status == 401
    api.tokens.revoke(api.token)
    assert (await client.get()).status == 401


async def test_a_restart_keeps_port_and_objects(client: Client, api: KubernetesApi) -> None:
    """Streams are reset, new connections refused, and after the start everything is there as before."""
    watch, port = await client.watch(), api.port
    await api.stop()
    with pytest.raises(aiohttp.ClientPayloadError):
        await watch.readany()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get()
    await api.start()
    assert api.port == port
    assert len((await client.get()).body["items"]) == 1
