"""Removal of the taint that keeps pods from a node until its traffic is routed.

A list of taints can only be written as a whole. So the write names the version that was read, and the API server
refuses it if anybody has written in between: no taint is lost, and none that was removed comes back.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, Never

from iam4kube.kube.client import MERGE_PATCH, KubeClient
from iam4kube.kube.decoding import decode_taints
from iam4kube.kube.errors import KubeError
from iam4kube.kube.resources import NODES
from iam4kube.runtime.backoff import Backoff, full_jitter

_log = logging.getLogger(__name__)

CHECK_AGAIN: Final = (480.0, 720.0)
"""Seconds between two looks, drawn at random: a Node that is deleted registers anew, with its taint."""
_REQUEST_TIMEOUT = 10.0  # seconds


class StartupTaint:
    """Removes the taints of one key from this node, whatever their effects."""

    def __init__(
        self,
        client: KubeClient,
        *,
        node: str,
        key: str,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._client = client
        self._node = node
        self._key = key
        self._uniform = uniform
        self._path = NODES.object_path(namespace="", name=node)

    async def run(self, until_ready: Callable[[], Awaitable[object]]) -> Never:
        """Remove it each time that the node is ready for pods and has it. `until_ready` returns when it is."""
        while True:
            await self.remove(until_ready)
            await asyncio.sleep(self._uniform(*CHECK_AGAIN))

    async def remove(self, until_ready: Callable[[], Awaitable[object]]) -> None:
        """Return once it is not there: after as many tries as it takes, each of them while the node is ready."""
        backoff = Backoff(full_jitter(initial=0.2, maximum=60, minimum=0.1))
        while True:
            await until_ready()
            try:
                return await self._try_to_remove()
            except KubeError as error:
                delay = max(backoff.next_delay(), error.retry_after)
                fields = {"node": self._node, "taint": self._key, "error": str(error), "retry_seconds": round(delay, 1)}
                _log.warning("Startup taint not removed yet", extra=fields)
            await asyncio.sleep(delay)

    async def _try_to_remove(self) -> None:
        """Read and write once. Raises `KubeError`, also if somebody else has written in between."""
        response = await self._client.request("GET", self._path, timeout=_REQUEST_TIMEOUT)
        found = decode_taints(response.checked())
        kept = [taint for taint in found.taints if taint.get("key") != self._key]
        if len(kept) == len(found.taints):
            return
        changes = {"metadata": {"resourceVersion": found.resource_version}, "spec": {"taints": kept or None}}
        patched = await self._client.request(
            "PATCH", self._path, body=changes, content_type=MERGE_PATCH, timeout=_REQUEST_TIMEOUT
        )
        patched.checked()
        _log.info("Startup taint removed", extra={"node": self._node, "taint": self._key})
