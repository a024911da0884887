"""The operators' port: liveness, readiness and metrics, in plain ASGI, on a port that every pod can reach.

    /livez    200 whenever the event loop answers
    /readyz   200, or 503 and a line for each thing that is missing
    /metrics  for Prometheus

Nothing here changes anything or waits for anything.
"""

from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry

from iam4kube.runtime.asgi import Application, PlainResponse, Receive, Scope, Send
from iam4kube.runtime.bounded_protocol import ONE_REQUEST, ConnectionBounds, bounded_protocol
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.metrics import render
from iam4kube.runtime.parsing import ListenAddress

Respond = Callable[[Scope], PlainResponse]

# A balancer or a browser that keeps an old "ready" misleads whoever looks.
_NO_STORE: Final = (b"cache-control", b"no-store")
_TEXT: Final = "text/plain; charset=utf-8"


def admin_listener(application: Application, address: ListenAddress) -> Listener:
    """A listener for people, probes and Prometheus."""
    protocol = bounded_protocol(ConnectionBounds())
    return Listener(
        application, address, name="admin", setting="--admin-listen", protocol=protocol, headers=(ONE_REQUEST,)
    )


def admin_application(*, missing: Callable[[], Sequence[str]], registry: CollectorRegistry) -> Application:
    """The application. `missing` says in words what keeps the router from being ready; nothing: it is."""

    def livez(_scope: Scope) -> PlainResponse:
        return _response(200, "ok\n")

    def readyz(_scope: Scope) -> PlainResponse:
        lines = missing()
        return _response(503, "".join(f"{line}\n" for line in lines)) if lines else _response(200, "ready\n")

    def metrics(scope: Scope) -> PlainResponse:
        text, content_type = render(registry, accept=_header(scope, b"accept"))
        return _response(200, text, content_type)

    routes: dict[str, Respond] = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}

    async def application(scope: Scope, _receive: Receive, send: Send) -> None:
        await _answer(routes, scope).send(send)

    return application


def _answer(routes: dict[str, Respond], scope: Scope) -> PlainResponse:
    respond = routes.get(scope["path"])
    if respond is None:
        return _response(404, f"there are {', '.join(routes)}\n")
    if scope["method"] not in ("GET", "HEAD"):
        return _response(405, "GET only\n")
    return respond(scope)


def _response(status: int, content: str | bytes, content_type: str = _TEXT) -> PlainResponse:
    body = content.encode() if isinstance(content, str) else content
    return PlainResponse(status, body, headers=((b"content-type", content_type.encode()), _NO_STORE))


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
