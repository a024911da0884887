"""Whatever happens in whatever order: the view is the one of what exists in the end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from iam4kube.kube.objects import Address, EndpointSlice, Service
from iam4kube.sandbox.kubernetes.networking import endpoint
from ip2service.backends import Backends
from ip2service.backends_view import BackendsView
from ip2service.layout import Family, Layout, Mode
from ip2service.problems import ServiceReference
from ip2service.selection import Place
from tests.support.kube_networking import a_service, a_slice

REFERENCE = ServiceReference(namespace="iam4kube", name="iam4kube")
NAMES = ("a", "b", "c")

endpoints = st.builds(
    endpoint,
    st.sampled_from(["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.0.0.1"]),
    node=st.sampled_from(["node-a", "node-b", ""]),
    zone=st.sampled_from(["zone-a", "zone-b", ""]),
    ready=st.booleans(),
    serving=st.booleans(),
    terminating=st.booleans(),
    zone_hints=st.sampled_from([(), ("zone-a",), ("zone-a", "zone-b")]),
)
contents = st.none() | st.builds(
    lambda found, ports: (found, ports),
    st.lists(endpoints, max_size=4),
    st.sampled_from([{"router": 8080}, {"router": 9090}, {"http": 8080}]),
)
slice_steps = st.tuples(st.sampled_from(NAMES), contents)
services = st.none() | st.builds(
    a_service,
    uid=st.sampled_from(["uid-1", "uid-2"]),
    cluster_ips=st.sampled_from([["10.96.0.50"], ["10.96.0.99", "fd00:96::50"], ["None"]]),
    ports=st.sampled_from([{"router": 8169}, {"http": 80}]),
)
places = st.builds(
    Place,
    node=st.just("node-a"),
    zone=st.sampled_from(["", "zone-a", "zone-b"]),
    addresses=st.sampled_from([None, frozenset([Address("10.0.0.1")])]),
)
steps = st.lists(slice_steps | services | places, max_size=12)
Step = tuple[str, tuple[list[dict[str, object]], dict[str, int]] | None] | Service | Place | None


class World:
    """What exists, and backends that hear of it as from watches."""

    def __init__(self, mode: Mode) -> None:
        self.service: Service | None = None
        self.slices: dict[str, EndpointSlice] = {}
        self.place = Place(node="node-a")
        self.told: list[BackendsView] = []
        self.backends = new_backends(mode)
        self.version = 0

    def take(self, step: Step) -> None:
        """One thing happens."""
        self.version += 1
        if isinstance(step, tuple):
            self._put_slice(step[0], step[1])
        elif isinstance(step, Place):
            self.place = step
            self.backends.place_changed(step)
        else:
            self._put_service(step)

    def _put_slice(self, name: str, content: tuple[list[dict[str, object]], dict[str, int]] | None) -> None:
        old = self.slices.pop(name, None)
        new = content and a_slice(*content[0], name=name, ports=content[1], version=str(self.version))
        if new is not None:
            self.slices[name] = new
        if old is not None or new is not None:
            self.backends.slices.changed(old, new)

    def _put_service(self, new: Service | None) -> None:
        """As a mirror tells it: one of another UID is a deletion and a creation."""
        old, self.service = self.service, new
        if old is not None and new is not None and old.uid != new.uid:
            self.backends.services.changed(old, None)
            old = None
        if old is not None or new is not None:
            self.backends.services.changed(old, new)


def new_backends(mode: Mode) -> Backends:
    """That know nothing yet."""
    return Backends(REFERENCE, Layout(mode=mode), node="node-a")


def installed_afresh(world: World, mode: Mode, *, backwards: bool) -> BackendsView:
    """The view of a router that starts now."""
    backends = new_backends(mode)
    names = sorted(world.slices, reverse=backwards)
    for name in names:
        backends.slices.changed(None, world.slices[name])
    backends.slices.synced()
    backends.place_changed(world.place)
    if world.service is not None:
        backends.services.changed(None, world.service)
    backends.services.synced()
    return backends.view()


@settings(max_examples=150, deadline=None)
@given(steps=steps, synced_after=st.integers(0, 12), mode=st.sampled_from(Mode))
def test_the_view_depends_only_on_what_exists(steps: list[Step], synced_after: int, mode: Mode) -> None:
    """After every step it is what a router that starts at that moment has, and it is never out of bounds."""
    world = World(mode)
    for number, step in enumerate(steps):
        if number == synced_after:
            world.backends.services.synced()
            world.backends.slices.synced()
        world.take(step)
        view = world.backends.view()
        assert view.synced == (number >= synced_after)
        if view.synced:
            assert view == installed_afresh(world, mode, backwards=bool(number % 2))
            check(view, world)


def check(view: BackendsView, world: World) -> None:
    """What always holds."""
    states = [state for each in world.slices.values() for state in each.endpoints]
    for family in Family:
        found = view.families[family]
        assert found.gate == bool(found.endpoints)
        assert {each.address for each in found.endpoints} <= found.addresses_in_slices
        assert list(found.endpoints) == sorted(set(found.endpoints))
        others = {state.addresses[0] for state in states if state.terminating or state.node != "node-a"}
        assert not (found.exempt or frozenset()) & {*others, "10.0.0.1"}
        if found.problem is not None:
            assert (found.cluster_ip, found.gate) == (None, False)
