"""Where connections go, as one value: a pure function of the Service, its slices and the router's own place.

Nothing is kept from one view to the next, so a slice that is deleted takes its endpoints with it, and the same
objects always give the same view, in whatever order they came.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from iam4kube.kube import objects
from iam4kube.kube.objects import Address, EndpointSlice, Service
from ip2service.layout import Endpoint, Family, Layout
from ip2service.problems import (
    Problem,
    ServiceReference,
    cluster_ip,
    is_local_only,
    problem_of,
    warnings,
)
from ip2service.selection import Place, candidates, selected


@dataclass(frozen=True, kw_only=True)
class Observed:
    """All that a view is made of."""

    place: Place
    service: Service | None = None
    """None: there is none."""
    slices: Mapping[str, EndpointSlice] = field(default_factory=dict)
    """All of the Service, by name."""


@dataclass(frozen=True, kw_only=True)
class FamilyBackends:
    """What there is of one family."""

    problem: Problem | None = None
    """Why nothing can be routed. Then there is no cluster IP, the gate is closed, and no endpoint is used."""
    cluster_ip: Address | None = None
    """The Service's. Only in endpoints mode can it be None without a problem."""
    gate: bool = False
    """Whether a new connection finds somebody: an endpoint that is ready or, with none ready, one that serves."""
    endpoints: tuple[Endpoint, ...] = ()
    """Those that new connections from this node go to, sorted."""
    addresses_in_slices: frozenset[Address] = frozenset()
    """Of all endpoints in whatever state, terminating ones too: their connections are left alone."""
    exempt: frozenset[Address] | None = frozenset()
    """Of the server pods on this node, unless they terminate: ready or not, they need credentials of their own. None
    while the node's own addresses are not known."""


@dataclass(frozen=True, kw_only=True)
class BackendsView:
    """All that the router knows of where connections go."""

    synced: bool = False
    """Whether both watches have delivered their first list. Until then nothing else here means anything."""
    families: Mapping[Family, FamilyBackends] = field(default_factory=dict)
    """Of the families that are intercepted; of none until synced."""
    warnings: tuple[Problem, ...] = ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Those of all families, each once."""
        return tuple(dict.fromkeys(each.problem for each in self.families.values() if each.problem is not None))

    @property
    def broken(self) -> Problem | None:
        """Why nothing at all can be routed; None if one family can: clusters of one family are the rule."""
        if any(each.problem is None for each in self.families.values()):
            return None
        return next(iter(self.problems), None)


UNSYNCED = BackendsView()


def backends_view(observed: Observed, reference: ServiceReference, layout: Layout) -> BackendsView:
    """The view when this is all that there is."""
    families = {
        family: _family_backends(observed, reference, family, problem_of(observed.service, reference, layout, family))
        for family in layout.intercepted
    }
    service = observed.service
    return BackendsView(
        synced=True, families=families, warnings=() if service is None else tuple(warnings(service, reference))
    )


def _family_backends(
    observed: Observed, reference: ServiceReference, family: Family, problem: Problem | None
) -> FamilyBackends:
    slices = [each for each in observed.slices.values() if each.address_type == f"IPv{family.value}"]
    addresses, exempt = _addresses(slices), _exempt(slices, observed.place)
    service = observed.service
    if service is None or problem is not None:
        return FamilyBackends(problem=problem, addresses_in_slices=addresses, exempt=exempt)
    found = candidates(slices, port_name=reference.port_name, place=observed.place)
    used = selected(found, place=observed.place, local_only=is_local_only(service))
    return FamilyBackends(
        cluster_ip=cluster_ip(service, family),
        gate=bool(used),
        endpoints=tuple(candidate.target for candidate in used),
        addresses_in_slices=addresses,
        exempt=exempt,
    )


def _addresses(slices: Iterable[EndpointSlice]) -> frozenset[Address]:
    return frozenset(address for each in slices for state in each.endpoints for address in state.addresses)


def _exempt(slices: Iterable[EndpointSlice], place: Place) -> frozenset[Address] | None:
    """A pod that terminates in any slice terminates: its address may be another pod's in a moment.

    The node's own addresses are left out (a server in the host's network has one): masqueraded traffic of other
    pods comes from there. While they are not known, every address could be one of them.
    """
    if place.addresses is None:
        return None
    staying: set[Address] = set()
    leaving: set[Address] = set()
    for each in slices:
        for state in each.endpoints:
            stays = _is_pod_on(place.node, state) and not state.terminating
            (staying if stays else leaving).update(state.addresses[:1])
    return frozenset(staying - leaving - place.addresses)


def _is_pod_on(node: str, state: objects.Endpoint) -> bool:
    return state.node == node and state.target is not None and state.target.kind == "Pod"
