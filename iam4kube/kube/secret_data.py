"""Filling a key of a Secret once, whoever else tries to at the same time.

The Secret has to be there: RBAC cannot restrict `create` to a name, and the right to `get` and `patch` this one is all
that is needed. The write names the version that was read, so the API server refuses it to all but the first.
"""

import asyncio
import base64
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import msgspec

from iam4kube.kube.client import MERGE_PATCH, KubeClient
from iam4kube.kube.errors import KubeError, decoded
from iam4kube.kube.wire import Wire
from iam4kube.runtime.backoff import Backoff, full_jitter

_REQUEST_TIMEOUT: Final = 10.0  # seconds


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """One key of a Secret's data."""

    namespace: str
    name: str
    key: str

    @property
    def path(self) -> str:
        """Where the Secret is."""
        return f"/api/v1/namespaces/{quote(self.namespace)}/secrets/{quote(self.name)}"


class _Version(Wire, frozen=True):
    resource_version: str


class _Secret(Wire, frozen=True):
    metadata: _Version
    data: dict[str, str] | None = None


_secrets = msgspec.json.Decoder(_Secret)


async def fill_once(client: KubeClient, secret: SecretKey, content: bytes, *, patience: float) -> bool:
    """Write `content` if there is nothing yet. Returns whether it was written; if not, nothing has changed.

    Tries again for `patience` seconds, also when it is refused: right after an installation the API server has not
    heard of every permission yet. Raises the last `KubeError`.
    """
    backoff = Backoff(full_jitter(initial=0.2, maximum=5, minimum=0.1))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            return await _try_to_fill(client, secret, content)
        except KubeError as error:
            delay = max(backoff.next_delay(), error.retry_after)
            if loop.time() + delay > deadline:
                raise
        await asyncio.sleep(delay)


async def _try_to_fill(client: KubeClient, secret: SecretKey, content: bytes) -> bool:
    """Read and write once. Raises `KubeError`, also if somebody else has written in between."""
    response = await client.request("GET", secret.path, timeout=_REQUEST_TIMEOUT)
    found = decoded(_secrets, response.checked())
    if (found.data or {}).get(secret.key):
        return False
    changes = {
        "metadata": {"resourceVersion": found.metadata.resource_version},
        "data": {secret.key: base64.b64encode(content).decode()},
    }
    patched = await client.request(
        "PATCH", secret.path, body=changes, content_type=MERGE_PATCH, timeout=_REQUEST_TIMEOUT
    )
    patched.checked()
    return True
