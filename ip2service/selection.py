"""Which endpoints a node uses: pure functions, by the same rules as kube-proxy (`pkg/proxy/topology.go`).

The ready ones; only if there is none at all, those that still serve while they terminate. Of the ready ones the
nearest: those hinted for this node, else those hinted for its zone, and beyond kube-proxy, which goes by hints
alone, else those in its zone. Hints count only if every ready endpoint has them: whoever wrote them has spread
the load of the whole cluster with them, and half of a plan is none.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from iam4kube.kube import objects
from iam4kube.kube.objects import Address, EndpointSlice
from ip2service.layout import Endpoint


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where this router runs."""

    node: str
    zone: str = ""
    """Empty when the Node does not say."""
    addresses: frozenset[Address] | None = None
    """The node's own; None while they are not known."""


class Candidate(NamedTuple):
    """An endpoint with the port that connections would go to."""

    target: Endpoint
    state: objects.Endpoint


def candidates(slices: Iterable[EndpointSlice], *, port_name: str, place: Place) -> list[Candidate]:
    """The endpoints that listen on a TCP port of this name, each once, in an order that depends on nothing else.

    While an endpoint moves from one slice to another it is in both. kube-proxy takes either; here it is the one
    in the better state, so that the order in which slices arrive makes no difference.
    """
    best: dict[Endpoint, Candidate] = {}
    for candidate in _listening(slices, port_name):
        rival = best.get(candidate.target)
        if rival is None or _merit(candidate.state, place) > _merit(rival.state, place):
            best[candidate.target] = candidate
    return [best[target] for target in sorted(best)]


def selected(found: Sequence[Candidate], *, place: Place, local_only: bool) -> list[Candidate]:
    """Those that new connections from this node go to, in the same order; none: there is nobody to serve them.

    `local_only`: the Service's internalTrafficPolicy is Local, so that others than this node's own do not exist.
    """
    if local_only:
        found = [candidate for candidate in found if candidate.state.node == place.node]
    ready = [candidate for candidate in found if candidate.state.ready]
    if not ready:
        return [candidate for candidate in found if candidate.state.serving and candidate.state.terminating]
    return ready if local_only else _nearest(ready, place)


def _listening(slices: Iterable[EndpointSlice], port_name: str) -> Iterator[Candidate]:
    for each in slices:
        for port in each.ports:
            if port.name == port_name and port.protocol == "TCP" and port.port:
                yield from (
                    Candidate(Endpoint(state.addresses[0], port.port), state)
                    for state in each.endpoints
                    if state.addresses
                )


def _merit(state: objects.Endpoint, place: Place) -> tuple[object, ...]:
    """The last ones settle ties between equally good states."""
    local = state.node == place.node
    return state.ready, state.serving, not state.terminating, local, state.zone, state.zone_hints, state.node_hints


def _nearest(ready: Sequence[Candidate], place: Place) -> list[Candidate]:
    by_node = _hinted(ready, lambda state: state.node_hints, place.node)
    by_zone_hint = _hinted(ready, lambda state: state.zone_hints, place.zone)
    by_zone = [candidate for candidate in ready if place.zone and candidate.state.zone == place.zone]
    return by_node or by_zone_hint or by_zone or list(ready)


def _hinted(
    ready: Sequence[Candidate], hints: Callable[[objects.Endpoint], tuple[str, ...]], wanted: str
) -> list[Candidate]:
    if not all(hints(candidate.state) for candidate in ready):
        return []
    return [candidate for candidate in ready if wanted in hints(candidate.state)]
