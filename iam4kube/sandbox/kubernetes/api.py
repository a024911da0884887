"""The emulator as tests and the demo use it: started on a loopback port, changed by direct synchronous calls."""

import copy
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

from iam4kube.runtime.clock import Now, utc_now
from iam4kube.sandbox.kubernetes.app import Answered, ApiApplication
from iam4kube.sandbox.kubernetes.errors import ApiError
from iam4kube.sandbox.kubernetes.faults import Faults
from iam4kube.sandbox.kubernetes.patches import merge_patch
from iam4kube.sandbox.kubernetes.registry import Registry
from iam4kube.sandbox.kubernetes.resources import BY_PLURAL, Object, make_key, resource_of
from iam4kube.sandbox.kubernetes.store import HISTORY_LIMIT, Store
from iam4kube.sandbox.kubernetes.tokens import Tokens
from iam4kube.sandbox.kubernetes.verbs import Verbs
from iam4kube.sandbox.kubernetes.watches import Bookmark, End, Item, Reset

_STOP_SECONDS = 0.1  # aiohttp waits so long for streams that are open, then cancels them


class KubernetesApi:
    """A Kubernetes API server on a loopback socket. Belongs to one event loop; use it with `async with`.

    What it stores outlives `stop`, and `start` listens on the same port again: a restart.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        now: Now = utc_now,
        history_limit: int = HISTORY_LIMIT,
        bookmark_period: float = 60.0,
    ) -> None:
        self.port = port
        """Where it listens; known after the first start when it was 0."""
        self.faults = Faults()
        self.tokens = Tokens()
        self.token = self.tokens.issue()
        """A bearer token that does not expire."""
        self._store = Store(history_limit=history_limit)
        self._registry = Registry(self._store, now=now)
        verbs = Verbs(self._store, self._registry)
        self._app = ApiApplication(store=self._store, verbs=verbs, tokens=self.tokens, faults=self.faults)
        self._app.bookmark_period = bookmark_period
        self._runner: web.AppRunner | None = None
        for namespace in ("default", "kube-system"):
            self.create_namespace(namespace)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on 127.0.0.1. Raises `OSError` when the port is taken."""
        runner = web.AppRunner(
            self._app.application(), access_log=None, handler_cancellation=True, shutdown_timeout=_STOP_SECONDS
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = int(runner.addresses[0][1])
        self._runner = runner

    async def stop(self) -> None:
        """Close every connection and the port. Objects, tokens and faults stay."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            self._tell_watches(Reset())
            await runner.cleanup()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def kubeconfig(self, path: Path, *, token: str | None = None) -> Path:
        """Write a kubeconfig with one context, `sandbox`; with `self.token` unless another one is given."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": {"server": self.url}}],
            "users": [{"name": "client", "user": {"token": self.token if token is None else token}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "client"}}],
            "current-context": "sandbox",
        }
        path.write_bytes(msgspec.json.encode(config))  # JSON is YAML
        return path

    # Objects, changed as if by somebody else, at once.

    def create_namespace(self, name: str) -> Object:
        """Create a namespace; returns the present one if it exists."""
        resource = BY_PLURAL["namespaces"]
        present = self._store.get(resource, name)
        if present is None:
            obj = {"metadata": {"name": name}, "status": {"phase": "Active"}}
            present = self._registry.create(resource, obj, namespace=None)
        return copy.deepcopy(present)

    def create(self, obj: Object) -> Object:
        """Store a new object with its status, in one write, and its namespace if that is missing. Raises `ApiError`."""
        resource = resource_of(obj)
        namespace = obj["metadata"].get("namespace") if resource.namespaced else None
        if namespace is not None:
            self.create_namespace(namespace)
        return copy.deepcopy(self._registry.create(resource, obj, namespace=namespace, keep_status=True))

    def get(self, plural: str, name: str, *, namespace: str | None = None) -> Object:
        """A copy of an object. Raises `ApiError` 404."""
        return copy.deepcopy(self._registry.read(BY_PLURAL[plural], namespace=namespace, name=name))

    def list(self, plural: str, *, namespace: str | None = None) -> list[Object]:
        """Copies of all objects of a type, in the order of a list."""
        objects = self._store.objects(BY_PLURAL[plural])
        prefix = make_key(namespace, "") if namespace else ""
        return [copy.deepcopy(objects[key]) for key in sorted(objects) if key.startswith(prefix)]

    def update(self, obj: Object) -> Object:
        """Replace an object and its status in one write, whatever its version. Raises `ApiError` 404."""
        metadata = obj["metadata"]
        return copy.deepcopy(
            self._registry.overwrite(resource_of(obj), obj, namespace=metadata.get("namespace"), name=metadata["name"])
        )

    def patch(self, plural: str, name: str, patch: Mapping[str, Any], *, namespace: str | None = None) -> Object:
        """Apply a merge patch to object and status in one write. Raises `ApiError` 404."""
        return self.update(merge_patch(self.get(plural, name, namespace=namespace), patch))

    def delete(self, plural: str, name: str, *, namespace: str | None = None, grace: int | None = None) -> Object:
        """Delete as a client does; `grace` in seconds. A pod on a node goes with `grace=0`, as its kubelet ends it."""
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        return copy.deepcopy(self._registry.delete(BY_PLURAL[plural], namespace=namespace, name=name, options=options))

    # The server itself.

    @property
    def requests(self) -> deque[Answered]:
        """The last 10,000 requests with the status of their answers. Watches are there from their beginning."""
        return self._app.log

    def count(self, verb: str, resource: str | None = None) -> int:
        """How many requests of a verb there were (of those in `requests`), for one resource or for all."""
        return sum(
            answered.request.verb == verb and resource in (None, answered.request.rbac_resource)
            for answered in self._app.log
        )

    @property
    def resource_version(self) -> str:
        """The version of the last write: what a list made now carries."""
        return str(self._store.revision)

    @property
    def open_watches(self) -> int:
        """How many watches are being served."""
        return len(self._app.watches)

    def advance(self) -> None:
        """Let the resource version grow as writes elsewhere do."""
        self._store.advance()

    def compact(self, *, expiry_in_status: bool = False) -> None:
        """Forget all history: what a client knows from before is answered with 410.

        For a watch that is an ERROR event in a stream with status 200, as the real server does it, unless
        `expiry_in_status`.
        """
        self._app.expiry_in_status = expiry_in_status
        self._store.compact()

    def send_bookmarks(self) -> None:
        """Send a bookmark down every watch, asked for or not."""
        self._tell_watches(Bookmark(self._store.revision))

    def end_watches(self, plural: str | None = None) -> None:
        """End streams in good order, as a server that is stopped or a time-out does."""
        self._tell_watches(End(), plural)

    def reset_watches(self, plural: str | None = None) -> None:
        """Close the connections of streams between two lines."""
        self._tell_watches(Reset(), plural)

    def fail_watches(self, error: ApiError, plural: str | None = None) -> None:
        """Send an ERROR event, which is a stream's last line."""
        self._tell_watches(error, plural)

    def _tell_watches(self, item: Item, plural: str | None = None) -> None:
        for stream in self._app.watches:
            if plural in (None, stream.request.resource.plural):
                stream.offer(item)
