"""One key of a Secret is filled once, whoever tries and whatever the API server says, in virtual time."""

import asyncio
import base64
from typing import Any

import pytest

from iam4kube.kube.client import KubeClient
from iam4kube.kube.errors import KubeRefused
from iam4kube.kube.secret_data import SecretKey, fill_once
from iam4kube.sandbox.kubernetes import KubernetesApi

pytestmark = pytest.mark.looptime

SECRET = SecretKey(namespace="iam4kube", name="keys", key="keys.json")


def create(api: KubernetesApi, **data: bytes) -> None:
    """The Secret, empty or with something in it."""
    encoded = {key: base64.b64encode(content).decode() for key, content in data.items()}
    secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret"}
    secret["metadata"] = {"name": SECRET.name, "namespace": SECRET.namespace}
    api.create(secret | ({"data": encoded} if encoded else {}))


def data(api: KubernetesApi) -> dict[str, bytes]:
    """What it holds."""
    [secret] = api.list("secrets", namespace=SECRET.namespace)
    return {key: base64.b64decode(text) for key, text in secret.get("data", {}).items()}


async def fill(client: KubeClient, content: bytes = b"mine") -> bool:
    """Try for half a minute."""
    return await fill_once(client, SECRET, content, patience=30)


async def test_an_empty_secret_is_filled_once(api: KubernetesApi, client: KubeClient) -> None:
    """The second time nothing is written."""
    create(api)
    assert await fill(client)
    assert not await fill(client, b"another")
    assert data(api) == {"keys.json": b"mine"}
    assert api.count("patch", "secrets") == 1


async def test_other_keys_of_the_secret_stay(api: KubernetesApi, client: KubeClient) -> None:
    """They do not count as filled either."""
    create(api, other=b"theirs")
    assert await fill(client)
    assert data(api) == {"other": b"theirs", "keys.json": b"mine"}


async def test_of_many_at_a_time_one_fills_it(api: KubernetesApi, client: KubeClient) -> None:
    """All have read that it is empty; the API server takes the first write and refuses the others."""
    create(api)
    contents = [str(number).encode() for number in range(5)]
    filled = await asyncio.gather(*(fill(client, content) for content in contents))
    assert sorted(filled) == [False] * 4 + [True]
    assert data(api) == {"keys.json": contents[filled.index(True)]}
    assert api.count("patch", "secrets") > 1, "nobody was refused"


@pytest.mark.parametrize("verb", ["get", "patch"])
@pytest.mark.parametrize("code", [403, 429, 500, 503])
async def test_a_refusal_is_tried_again(api: KubernetesApi, client: KubeClient, verb: str, code: int) -> None:
    """403 too: right after an installation the API server has not heard of the Role yet."""
    create(api)
    api.faults.refuse(code, verb=verb, resource="secrets", times=3)
    assert await fill(client)
    assert data(api) == {"keys.json": b"mine"}


async def test_a_secret_that_is_not_there_is_waited_for_and_then_named(api: KubernetesApi, client: KubeClient) -> None:
    """It is never created: for that RBAC could not name it."""
    started = asyncio.get_running_loop().time()
    with pytest.raises(KubeRefused, match='secrets "keys" not found'):
        await fill(client)
    assert 20 < asyncio.get_running_loop().time() - started <= 30
    assert api.count("create", "secrets") == 0
