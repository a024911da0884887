"""The router's admin application, without a server."""

import pytest
from prometheus_client import CollectorRegistry, Gauge

from iam4kube.runtime.asgi import Application
from ip2service.admin import admin_application
from tests.support.asgi import call


def application(*missing: str) -> Application:
    """One of a router that lacks these."""
    registry = CollectorRegistry()
    Gauge("ip2service_something", "Something.", registry=registry).set(7)
    return admin_application(missing=lambda: missing, registry=registry)


async def test_it_is_live_whatever_is_missing() -> None:
    """A restart would change nothing about what is missing."""
    answered = await call(application("rules: broken"), "/livez")
    assert (answered.status, answered.body) == (200, b"ok\n")


async def test_readiness_says_in_words_what_is_missing() -> None:
    """One line each: the kubelet shows it."""
    ready = await call(application(), "/readyz")
    assert (ready.status, ready.body) == (200, b"ready\n")
    unready = await call(application("rules: broken", "bypass: a link"), "/readyz")
    assert (unready.status, unready.body) == (503, b"rules: broken\nbypass: a link\n")
    assert unready.headers["cache-control"] == "no-store"


async def test_metrics_are_prometheus_text() -> None:
    """With their content type."""
    answered = await call(application(), "/metrics")
    assert b"ip2service_something 7.0" in answered.body
    assert answered.headers["content-type"].startswith("text/plain; version=")


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/livez", "POST", 405), ("/readyz", "HEAD", 200)]
)
async def test_anything_else_is_refused(path: str, method: str, status: int) -> None:
    """Nothing here changes anything."""
    assert (await call(application(), path, method=method)).status == status
