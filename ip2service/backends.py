"""The owner of what is watched of the Service and its EndpointSlices, and of the view of them."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Generic, TypeVar

from iam4kube.kube.decoding import SERVICE_NAME_LABEL
from iam4kube.kube.objects import EndpointSlice, Service
from iam4kube.kube.watch_options import Selection
from ip2service.backends_view import UNSYNCED, BackendsView, Observed, backends_view
from ip2service.layout import Layout
from ip2service.problems import Problem, ServiceReference
from ip2service.selection import Place

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Backends:
    """Owns what was observed. `services` and `slices` are the handlers of the two watches."""

    def __init__(
        self, reference: ServiceReference, layout: Layout, *, node: str, changed: Callable[[], None] = lambda: None
    ) -> None:
        """`node` is this node's name. `changed` is called after each change of the view."""
        self._reference = reference
        self._layout = layout
        self._changed = changed
        self._observed = Observed(place=Place(node=node))
        self._view = UNSYNCED
        self.services = Feed(self._service_changed, self._refresh)
        self.slices = Feed(self._slice_changed, self._refresh)

    @property
    def service_selection(self) -> Selection:
        """Which Services to watch."""
        return Selection(namespace=self._reference.namespace, field_selector=f"metadata.name={self._reference.name}")

    @property
    def slice_selection(self) -> Selection:
        """Which EndpointSlices to watch."""
        label = f"{SERVICE_NAME_LABEL}={self._reference.name}"
        return Selection(namespace=self._reference.namespace, label_selector=label)

    def view(self) -> BackendsView:
        """What holds now."""
        return self._view

    def place_changed(self, place: Place) -> None:
        """Hear where this router runs."""
        self._observed = replace(self._observed, place=place)
        self._refresh()

    def _service_changed(self, _old: Service | None, new: Service | None) -> None:
        self._observed = replace(self._observed, service=new)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        slices = dict(self._observed.slices)
        if old is not None:
            slices.pop(old.name, None)
        if new is not None:
            slices[new.name] = new
        self._observed = replace(self._observed, slices=slices)

    def _refresh(self) -> None:
        if not (self.services.complete and self.slices.complete):
            return
        before, self._view = self._view, backends_view(self._observed, self._reference, self._layout)
        if self._view != before:
            _log_changes(before, self._view)
            self._changed()


class Feed(Generic[T]):
    """Handler of one watch."""

    def __init__(self, take: Callable[[T | None, T | None], None], refresh: Callable[[], None]) -> None:
        self.complete = False
        """Whether the first list has been delivered."""
        self._take = take
        self._refresh = refresh

    def changed(self, old: T | None, new: T | None, /) -> None:
        """Take in one change."""
        self._take(old, new)
        self._refresh()

    def synced(self) -> None:
        """The first list is complete."""
        self.complete = True
        self._refresh()


def _log_changes(before: BackendsView, after: BackendsView) -> None:
    for problem in _new(before.problems, after.problems):
        if after.broken is not None:
            _log.warning("Service cannot be routed to", extra=_fields(problem))
        else:
            _log.info("Service is routed to for one family only", extra=_fields(problem))
    for problem in _new(after.problems, before.problems):
        _log.info("Service's problem is over", extra=_fields(problem))
    for warning in _new(before.warnings, after.warnings):
        _log.warning("Service is not as it should be", extra=_fields(warning))
    for family, backends in after.families.items():
        earlier = before.families.get(family)
        fields = {"family": f"IPv{family.value}"}
        if backends.cluster_ip is not None and (earlier is None or earlier.cluster_ip != backends.cluster_ip):
            _log.info("Service has this address", extra={**fields, "cluster_ip": backends.cluster_ip})
        if backends.problem is None and (earlier is None or earlier.gate != backends.gate):
            _log_gate(fields, gate=backends.gate)


def _log_gate(fields: dict[str, str], *, gate: bool) -> None:
    if gate:
        _log.info("New connections are let in: a server is ready", extra=fields)
    else:
        _log.warning("New connections are refused: no server is ready", extra=fields)


def _new(before: Iterable[Problem], after: Iterable[Problem]) -> list[Problem]:
    """What is in `after` only, each once, in its order."""
    known = set(before)
    return [problem for problem in dict.fromkeys(after) if problem not in known]


def _fields(problem: Problem) -> dict[str, str]:
    return {"problem": problem.kind, "explanation": problem.text}
