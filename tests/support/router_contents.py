"""Contents of the router's maps and sets, drawn by hypothesis: what a cluster's life may ask for, in any order."""

from typing import Any

from hypothesis import strategies

from iam4kube.kube.addresses import canonical_address
from iam4kube.kube.objects import Address
from ip2service.layout import STAND_IN, Contents, Endpoint, Family, Layout, Mode, Route

CLUSTER_IPS = {
    Family.IPV4: [Address("10.96.0.50"), Address("10.96.0.51")],
    Family.IPV6: [Address("fd00:10:96::50"), Address("fd00:10:96::51")],
}
_PODS = {Family.IPV4: "10.1.{}.{}", Family.IPV6: "fd00:10:1::{:x}:{:x}"}

LAYOUTS = [
    Layout(mode=mode, intercepted={family: Layout().intercepted[family] for family in families})
    for mode in Mode
    for families in ((Family.IPV4,), (Family.IPV6,), (Family.IPV4, Family.IPV6))
]


def endpoints(family: Family, count: int) -> tuple[Endpoint, ...]:
    """That many, from 10.1.0.1 port 8080 on."""
    return tuple(
        Endpoint(canonical_address(_PODS[family].format(*divmod(number, 250))), 8080) for number in range(1, count + 1)
    )


def _routes(mode: Mode, family: Family) -> strategies.SearchStrategy[Route]:
    pool = endpoints(family, 8)
    frontends: list[Any] = [None, *(CLUSTER_IPS[family] if mode is Mode.SERVICE else [STAND_IN[family]])]
    used = strategies.lists(strategies.sampled_from(pool), unique=True) if mode is Mode.ENDPOINTS else None
    return strategies.builds(
        Route,
        frontend=strategies.sampled_from(frontends),
        gate=strategies.booleans(),
        endpoints=strategies.just(()) if used is None else used.map(tuple),
        exempt=strategies.frozensets(strategies.sampled_from([each.address for each in pool]), max_size=2),
    )


@strategies.composite
def histories(draw: strategies.DrawFn) -> tuple[Layout, list[Contents]]:
    """A layout, and what was wanted in it, one after the other."""
    layout = draw(strategies.sampled_from(LAYOUTS))
    routes = {family: _routes(layout.mode, family) for family in layout.intercepted}
    wishes = strategies.builds(Contents, routes=strategies.fixed_dictionaries(routes))
    return layout, draw(strategies.lists(wishes, min_size=1, max_size=8))
