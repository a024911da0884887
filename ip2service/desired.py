"""From what was watched to what the maps and sets should hold."""

from ip2service.backends_view import BackendsView, FamilyBackends
from ip2service.layout import STAND_IN, Contents, Family, Layout, Mode, Route


def contents_of(layout: Layout, view: BackendsView, *, exempt_servers: bool) -> Contents:
    """What should be in the kernel for this view, which has to be a synced one."""
    return Contents(
        routes={
            family: _route(layout, family, view.families.get(family, FamilyBackends()), exempt_servers=exempt_servers)
            for family in layout.intercepted
        }
    )


def _route(layout: Layout, family: Family, backends: FamilyBackends, *, exempt_servers: bool) -> Route:
    if backends.problem is not None:
        frontend = None
    elif layout.mode is Mode.ENDPOINTS:
        frontend = STAND_IN[family]
    else:
        frontend = backends.cluster_ip
    return Route(
        frontend=frontend,
        gate=frontend is not None and backends.gate,
        endpoints=backends.endpoints if layout.mode is Mode.ENDPOINTS and frontend is not None else (),
        exempt=backends.exempt if exempt_servers else frozenset(),
    )
