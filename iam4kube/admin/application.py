"""The operators' application: liveness, readiness, draining and metrics. Small, and off every request's way.

Pods are not routed to this port. None of its routes changes anything, none waits for anything.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec
from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator

from iam4kube import __version__
from iam4kube.admin.responses import as_json, as_text
from iam4kube.runtime.metrics import render


class ReadinessReport(Protocol):
    """Whether the replica is ready, and the numbers behind that: a msgspec struct, shown as it is."""

    @property
    def ready(self) -> bool:
        """Whether the replica takes requests."""
        ...


def admin_application(
    *,
    readiness: Callable[[], ReadinessReport],
    is_draining: Callable[[], bool],
    registry: CollectorRegistry,
) -> FastAPI:
    """The application of the admin port. The callables are read with each request."""
    application = _application("iam4kube")

    @application.get("/livez", summary="200 whenever the event loop answers; says nothing of AWS or Kubernetes")
    async def livez() -> Response:
        return as_text(200, "ok\n")

    @application.get("/readyz", summary="200 once this replica has been ready, before that 503 and what is missing")
    async def readyz() -> Response:
        report = readiness()
        return as_json(200 if report.ready else 503, msgspec.to_builtins(report))

    @application.get("/drainz", summary="503 once the replica is going: for balancers that poll")
    async def drainz() -> Response:
        return as_text(503, "draining\n") if is_draining() else as_text(200, "serving\n")

    @application.get("/metrics", summary="Every metric, as text for Prometheus")
    async def metrics(request: Request) -> Response:
        text, content_type = render(registry, accept=request.headers.get("accept", ""))
        return Response(text, media_type=content_type)

    Instrumentator(registry=registry).instrument(application, metric_namespace="iam4kube", metric_subsystem="admin")
    return application


def debug_application(*, state: Callable[[], object]) -> FastAPI:
    """The application of the debug port: the replica's state, without secrets, for people."""
    application = _application("iam4kube debug")

    @application.get("/debug/state", summary="What this replica knows: watches, tables, roles, waits. No secrets")
    async def debug_state() -> Response:
        return as_json(200, state())

    return application


def _application(title: str) -> FastAPI:
    """The pages of documentation would load scripts from elsewhere; the description of the routes is enough."""
    return FastAPI(title=title, version=__version__, docs_url=None, redoc_url=None)
