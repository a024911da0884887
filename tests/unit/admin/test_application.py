"""The operators' ports, called without sockets."""

from dataclasses import dataclass, field

import msgspec
from prometheus_client import CollectorRegistry, Gauge

from iam4kube.admin.application import admin_application, debug_application
from iam4kube.runtime.asgi import Application
from tests.support.asgi import call


class SmallReport(msgspec.Struct, frozen=True):
    """As much of a readiness report as the port needs to know."""

    ready: bool
    missing: tuple[str, ...] = ()


UNREADY = SmallReport(ready=False, missing=("roles: 14 of 800 not tried yet",))


@dataclass
class Operated:
    """A replica as the admin port sees it."""

    report: SmallReport = UNREADY
    draining: bool = False
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def application(self) -> Application:
        return admin_application(
            readiness=lambda: self.report, is_draining=lambda: self.draining, registry=self.registry
        )


async def test_live_is_whoever_answers() -> None:
    """Liveness depends on nothing but the event loop."""
    answered = await call(Operated().application(), "/livez")
    assert (answered.status, answered.body) == (200, b"ok\n")


async def test_ready_says_what_is_missing_in_numbers() -> None:
    """503 with the report, 200 once there is nothing left; for people and for machines alike."""
    operated = Operated()
    application = operated.application()
    answered = await call(application, "/readyz")
    assert answered.status == 503
    assert answered.json() == {"ready": False, "missing": ["roles: 14 of 800 not tried yet"]}
    assert answered.body.count(b"\n") > 2
    operated.report = SmallReport(ready=True)
    assert (await call(application, "/readyz")).status == 200


async def test_drain_is_told_to_balancers_and_readiness_is_not_touched() -> None:
    """A replica that drains stays ready: kube-proxy falls back to it when none else is left."""
    operated = Operated(report=SmallReport(ready=True))
    application = operated.application()
    assert (await call(application, "/drainz")).status == 200
    operated.draining = True
    assert (await call(application, "/drainz")).status == 503
    assert (await call(application, "/readyz")).status == 200


async def test_health_is_never_cached() -> None:
    """A cached answer would keep a balancer sending requests to a replica that has gone."""
    application = Operated().application()
    for path in ("/livez", "/readyz", "/drainz"):
        assert (await call(application, path)).headers["cache-control"] == "no-store"


async def test_metrics_are_ours_and_those_of_the_port_itself() -> None:
    """One registry, one page."""
    operated = Operated()
    Gauge("iam4kube_example", "Ours.", registry=operated.registry).set(4)
    application = operated.application()
    await call(application, "/livez")
    answered = await call(application, "/metrics")
    assert answered.headers["content-type"].startswith("text/plain")
    assert b"iam4kube_example 4.0" in answered.body
    assert b'iam4kube_admin_http_requests_total{handler="/livez",method="GET",status="2xx"} 1.0' in answered.body


async def test_the_debug_state_is_shown_on_its_own_application_only() -> None:
    """It is bound to loopback by default, so the admin port must not have it."""
    assert (await call(Operated().application(), "/debug/state")).status == 404
    answered = await call(debug_application(state=lambda: {"waits": 3, "age": float("inf")}), "/debug/state")
    assert answered.status == 200
    assert answered.json() == {"waits": 3, "age": None}


async def test_nothing_is_loaded_from_elsewhere() -> None:
    """FastAPI's pages of documentation would fetch scripts from a CDN."""
    for path in ("/docs", "/redoc"):
        assert (await call(Operated().application(), path)).status == 404
