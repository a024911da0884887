"""What the maps and sets hold, and how they get from one content to another."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from ip2service.layout import SLOTS, STAND_IN, Contents, Endpoint, Family, Layout, Mode, Route
from ip2service.ruleset import TIMED, element_changes, elements_after, renewal, retires, wanted_elements
from tests.support.router_contents import CLUSTER_IPS, LAYOUTS, endpoints, histories

SERVICE = Layout(mode=Mode.SERVICE)
ENDPOINTS = Layout(mode=Mode.ENDPOINTS)


def routed(**changes: Any) -> Contents:
    """IPv4 routed to the first cluster IP, with these changes."""
    return Contents(routes={Family.IPV4: replace(Route(frontend=CLUSTER_IPS[Family.IPV4][0], gate=True), **changes)})


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, SLOTS, SLOTS + 5])
def test_every_endpoint_has_its_share_of_the_slots(count: int) -> None:
    """Shares differ by one slot at most; only beyond the number of slots endpoints go unused."""
    contents = routed(frontend=STAND_IN[Family.IPV4], endpoints=endpoints(Family.IPV4, count))
    slots = wanted_elements(ENDPOINTS, contents)["ip2service endpoints4"]
    assert list(slots) == [str(slot) for slot in range(SLOTS)]
    shares = Counter(slots.values())
    assert len(shares) == min(count, SLOTS)
    assert max(shares.values()) - min(shares.values()) <= 1


def test_a_closed_gate_stops_opening_packets_only() -> None:
    """Connections that are open live on: one map for both reset them, measured."""
    wanted = wanted_elements(SERVICE, routed(gate=False))
    assert wanted["ip2service opening4"] == {}
    assert wanted["ip2service open4"] == {"169.254.169.254 . 80": "10.96.0.50"}


def test_nothing_is_routed_in_a_family_without_a_frontend() -> None:
    """Not even with the gate open: there is nowhere to go, and the guard refuses."""
    wanted = wanted_elements(SERVICE, Contents(routes={Family.IPV4: Route(gate=True)}))
    assert not any(wanted.values())


def test_an_earlier_cluster_ip_stays_among_the_frontends_for_ten_minutes() -> None:
    """Replies that are still coming from it are the pods' replies, and have to look so."""
    old, new = CLUSTER_IPS[Family.IPV4][:2]
    before, after = wanted_elements(SERVICE, routed()), wanted_elements(SERVICE, routed(frontend=new))
    assert f"add element inet ip2service frontends4 {{ {old} . 8169 timeout 600s }}\n" in element_changes(before, after)
    assert elements_after(before, after)["ip2service frontends4"] == {f"{old} . 8169": TIMED, f"{new} . 8169": ""}


def test_a_cluster_ip_that_comes_back_stays() -> None:
    """Its timeout is over with it."""
    new = CLUSTER_IPS[Family.IPV4][1]
    first, second = wanted_elements(SERVICE, routed()), wanted_elements(SERVICE, routed(frontend=new))
    retired = elements_after(first, second)
    assert elements_after(retired, first)["ip2service frontends4"] == {
        "10.96.0.50 . 8169": "",
        f"{new} . 8169": TIMED,
    }


def test_an_exempt_pod_is_in_both_tables_and_renewed_in_both() -> None:
    """One of them alone would rewrite its packets, or refuse them."""
    contents = routed(exempt=frozenset({endpoints(Family.IPV4, 1)[0].address}))
    wanted = wanted_elements(SERVICE, contents)
    assert wanted["ip2service exempt4"] == wanted["ip2service_guard exempt4"] == {"10.1.0.1": TIMED}
    lines = renewal(contents).splitlines()
    assert [line.split()[:5] for line in lines if line.startswith("delete")] == [
        ["delete", "element", "inet", table, "exempt4"] for table in ("ip2service_guard", "ip2service")
    ]
    assert len(lines) == 6


@given(histories())
def test_nothing_is_left_to_change_once_it_has_been_changed(history: tuple[Layout, list[Contents]]) -> None:
    """And what is held then is what was wanted, beside frontends that are on their way out."""
    layout, wishes = history
    held = wanted_elements(layout, Contents())
    for wish in wishes:
        wanted = wanted_elements(layout, wish)
        held = elements_after(held, wanted)
        assert element_changes(held, wanted) == ""
        for name, keys in wanted.items():
            beyond = {key: value for key, value in held[name].items() if key not in keys}
            assert {key: held[name][key] for key in keys} == keys
            assert not beyond or (retires(name) and set(beyond.values()) == {TIMED})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_contents_mean_no_elements(layout: Layout) -> None:
    """A table without elements routes nothing."""
    assert not any(wanted_elements(layout, Contents()).values())


def test_an_endpoint_is_an_address_and_a_port() -> None:
    """As nftables reads a concatenation."""
    contents = routed(frontend=STAND_IN[Family.IPV4], endpoints=(Endpoint(endpoints(Family.IPV4, 1)[0].address, 9),))
    assert set(wanted_elements(ENDPOINTS, contents)["ip2service endpoints4"].values()) == {"10.1.0.1 . 9"}
