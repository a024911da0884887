"""Which endpoints a node uses: kube-proxy's rules, and the zone where nobody wrote hints."""

import pytest

from iam4kube.kube.objects import Address, EndpointSlice
from iam4kube.sandbox.kubernetes.networking import endpoint
from ip2service.layout import Endpoint
from ip2service.selection import Place, candidates, selected
from tests.support.kube_networking import a_slice

HERE = Place(node="node-a", zone="zone-a", addresses=frozenset([Address("10.0.0.1")]))


def used(*slices: EndpointSlice, place: Place = HERE, local_only: bool = False) -> list[str]:
    """The addresses that new connections from this place go to."""
    found = candidates(slices, port_name="router", place=place)
    return [each.target.address for each in selected(found, place=place, local_only=local_only)]


def test_ready_endpoints_are_used_in_a_fixed_order() -> None:
    """Whatever their order and their slices, and those that are not ready are not used."""
    one = a_slice(endpoint("10.1.0.3"), endpoint("10.1.0.1", ready=False))
    other = a_slice(endpoint("10.1.0.2"), name="b")
    assert used(one, other) == used(other, one) == ["10.1.0.2", "10.1.0.3"]


def test_the_port_is_the_one_of_that_name() -> None:
    """The Service's port number plays no role, and another slice may have another number."""
    slices = [a_slice(endpoint("10.1.0.1"), ports={"router": 9001}), a_slice(endpoint("10.1.0.1"), name="b")]
    found = candidates(slices, port_name="router", place=HERE)
    assert [each.target for each in found] == [Endpoint(Address("10.1.0.1"), 8080), Endpoint(Address("10.1.0.1"), 9001)]


@pytest.mark.parametrize("ports", [{}, {"http": 8080}, {"router": 0}])
def test_a_slice_without_that_port_has_nobody(ports: dict[str, int]) -> None:
    """Neither has one whose port is not said."""
    assert used(a_slice(endpoint("10.1.0.1"), ports=ports)) == []


def test_terminating_endpoints_are_the_last_resort() -> None:
    """Those that still serve, and only when nobody is ready."""
    going = endpoint("10.1.0.1", ready=False, serving=True, terminating=True)
    gone = endpoint("10.1.0.2", ready=False, serving=False, terminating=True)
    starting = endpoint("10.1.0.3", ready=False)
    assert used(a_slice(going, gone, starting)) == ["10.1.0.1"]
    assert used(a_slice(going, gone, starting, endpoint("10.1.0.4"))) == ["10.1.0.4"]
    assert used(a_slice(gone, starting)) == []


def test_serving_but_neither_ready_nor_terminating_is_not_enough() -> None:
    """As kube-proxy has it."""
    assert used(a_slice(endpoint("10.1.0.1", ready=False, serving=True))) == []


def test_published_though_terminating_is_ready() -> None:
    """A Service may publish addresses that are not ready: its slices call them ready then."""
    assert used(a_slice(endpoint("10.1.0.1", ready=True, terminating=True))) == ["10.1.0.1"]


def test_hints_for_the_zone_decide() -> None:
    """Not where the endpoints are."""
    hinted = a_slice(
        endpoint("10.1.0.1", zone="zone-a", zone_hints=["zone-b"]),
        endpoint("10.1.0.2", zone="zone-b", zone_hints=["zone-a", "zone-b"]),
    )
    assert used(hinted) == ["10.1.0.2"]


def test_hints_count_only_when_all_ready_endpoints_have_them() -> None:
    """One without makes them void; one that is not ready plays no role."""
    first, second = (endpoint(f"10.1.0.{i}", zone="zone-b", zone_hints=["zone-a"]) for i in (1, 2))
    first["hints"] = {"forZones": [{"name": "zone-b"}]}
    assert used(a_slice(first, second)) == ["10.1.0.2"]
    assert used(a_slice(first, second, endpoint("10.1.0.3", zone="zone-b", ready=False))) == ["10.1.0.2"]
    assert used(a_slice(first, second, endpoint("10.1.0.3", zone="zone-b"))) == ["10.1.0.1", "10.1.0.2", "10.1.0.3"]


def test_hints_for_the_node_come_first() -> None:
    """Unless there is none for this node."""
    hinted = a_slice(
        endpoint("10.1.0.1", zone_hints=["zone-a"], node_hints=["node-b"]),
        endpoint("10.1.0.2", zone_hints=["zone-a"], node_hints=["node-a"]),
    )
    assert used(hinted) == ["10.1.0.2"]
    assert used(hinted, place=Place(node="node-c", zone="zone-a")) == ["10.1.0.1", "10.1.0.2"]


def test_without_hints_the_own_zone_comes_first() -> None:
    """As long as somebody is ready there; the whole cluster otherwise, and where the zone is not known."""
    here, there = endpoint("10.1.0.1", zone="zone-a"), endpoint("10.1.0.2", zone="zone-b")
    assert used(a_slice(here, there)) == ["10.1.0.1"]
    assert used(a_slice({**here, "conditions": {"ready": False}}, there)) == ["10.1.0.2"]
    assert used(a_slice(here, there), place=Place(node="node-a")) == ["10.1.0.1", "10.1.0.2"]
    assert used(a_slice(endpoint("10.1.0.1", zone=""), there), place=Place(node="node-a")) == ["10.1.0.1", "10.1.0.2"]


def test_the_zone_does_not_matter_when_everybody_terminates() -> None:
    """The last resort is the whole cluster's."""
    far = endpoint("10.1.0.2", zone="zone-b", ready=False, serving=True, terminating=True)
    near = endpoint("10.1.0.1", zone="zone-a", ready=False, serving=True, terminating=True)
    assert used(a_slice(far, near)) == ["10.1.0.1", "10.1.0.2"]


def test_local_only_means_this_node_whatever_the_hints() -> None:
    """With the policy Local others do not exist, not even as a last resort."""
    away = endpoint("10.1.0.1", node="node-b", zone_hints=["zone-a"])
    here = endpoint("10.1.0.2", node="node-a", zone_hints=["zone-b"])
    hinted = endpoint("10.1.0.4", node="node-a", zone_hints=["zone-a"])
    assert used(a_slice(away, here, hinted), local_only=True) == ["10.1.0.2", "10.1.0.4"]
    assert used(a_slice(away), local_only=True) == []
    going = endpoint("10.1.0.3", node="node-a", ready=False, serving=True, terminating=True)
    assert used(a_slice(away, going), local_only=True) == ["10.1.0.3"]


def test_an_endpoint_in_two_slices_is_one() -> None:
    """In the better of the two states, whichever slice is first."""
    ready = a_slice(endpoint("10.1.0.1", zone="zone-b"))
    stale = a_slice(endpoint("10.1.0.1", zone="zone-a", ready=False), name="b")
    assert used(ready, stale) == used(stale, ready) == ["10.1.0.1"]
    assert len(candidates([ready, stale], port_name="router", place=HERE)) == 1


def test_only_the_first_address_of_an_endpoint_counts() -> None:
    """As kube-proxy has it; an endpoint without any is nobody."""
    both = {**endpoint("10.1.0.1"), "addresses": ["10.1.0.1", "10.1.0.2"]}
    none = {**endpoint("10.1.0.1"), "addresses": []}
    assert used(a_slice(both, none)) == ["10.1.0.1"]
