"""nftables through libnftables, in the real kernel."""

import asyncio
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from iam4kube.runtime.mistakes import SettingsError
from iam4kube.sandbox.network import Namespace
from iam4kube.sandbox.network.commands import configure
from ip2service.kernel import nft
from ip2service.kernel.nft import NfTables, RulesetError
from ip2service.layout import STAND_IN, Contents, Layout, Mode, Route
from ip2service.ruleset import (
    GUARD_TABLE,
    ROUTING_TABLE,
    TIMED,
    element_changes,
    guard_installation,
    guard_table,
    installation,
    routing_table,
    wanted_elements,
)
from tests.support.capabilities import drop_net_admin
from tests.support.other_program import big_table, read_rules, write_rules
from tests.support.router_contents import CLUSTER_IPS, LAYOUTS, endpoints

pytestmark = pytest.mark.netns

SERVICE = Layout()


def full(layout: Layout, *, servers: int = 3) -> Contents:
    """Something in every map and set."""
    in_endpoints_mode = layout.mode is Mode.ENDPOINTS
    return Contents(
        routes={
            family: Route(
                frontend=STAND_IN[family] if in_endpoints_mode else CLUSTER_IPS[family][0],
                gate=True,
                endpoints=endpoints(family, servers) if in_endpoints_mode else (),
                exempt=frozenset(endpoint.address for endpoint in endpoints(family, 2)),
            )
            for family in layout.intercepted
        }
    )


async def elements(tables: NfTables) -> Mapping[str, Mapping[str, str]]:
    """Those of both tables."""
    states = [await tables.read(name) for name in (GUARD_TABLE, ROUTING_TABLE)]
    return {name: keys for state in states if state is not None for name, keys in state.elements.items()}


async def install(tables: NfTables, layout: Layout, contents: Contents) -> None:
    """Both tables."""
    wanted = wanted_elements(layout, contents)
    await tables.apply(guard_installation(layout, wanted) + installation(layout, wanted))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.mode.value}-{len(layout.intercepted)}")
async def test_what_is_applied_is_read_back_letter_by_letter(tables: NfTables, layout: Layout) -> None:
    """In every mode and family, structures and elements are read as they were written."""
    await install(tables, layout, full(layout))
    guard, routing = await tables.read(GUARD_TABLE), await tables.read(ROUTING_TABLE)
    assert guard is not None
    assert routing is not None
    assert guard.structure == guard_table(layout)
    assert routing.structure == routing_table(layout)
    assert {**guard.elements, **routing.elements} == wanted_elements(layout, full(layout))


async def test_a_table_tells_whose_it_is(tables: NfTables) -> None:
    """The comment is read; a table without one has an empty one, and one that is not there is None."""
    await install(tables, SERVICE, full(SERVICE))
    await tables.apply('table inet plain {\n\tset s {\n\t\ttype ipv4_addr\n\t\tcomment "of the set"\n\t}\n}\n')
    guard, plain = await tables.read(GUARD_TABLE), await tables.read("plain")
    assert guard is not None
    assert plain is not None
    assert guard.comment == "ip2service guard 1 router"
    assert plain.comment == ""
    assert await tables.read("nobody") is None


async def test_a_refused_transaction_changes_nothing(tables: NfTables) -> None:
    """When the last line is refused, none of the lines before it hold."""
    await install(tables, SERVICE, full(SERVICE))
    before = [await tables.read(name) for name in (GUARD_TABLE, ROUTING_TABLE)]
    emptied = element_changes(wanted_elements(SERVICE, full(SERVICE)), wanted_elements(SERVICE, Contents()))
    with pytest.raises(RulesetError) as refused:
        await tables.apply(f"{emptied}delete table inet nobody\n")
    assert refused.value.kind == "rejected"
    assert "delete table inet nobody" in str(refused.value)
    assert [await tables.read(name) for name in (GUARD_TABLE, ROUTING_TABLE)] == before


async def test_a_refusal_shows_the_place_and_not_thousands_of_elements(tables: NfTables) -> None:
    """A mistake among 5,000 elements is quoted with its neighbours, and its line's number."""
    await install(tables, SERVICE, full(SERVICE))
    many = ", ".join(f"10.3.{number // 250}.{number % 250} . 8169" for number in range(5000))
    line = f"add element inet {ROUTING_TABLE} frontends4 {{ {many}, 10.9.9.9, 10.9.9.8 . 1 }}\n"
    with pytest.raises(RulesetError) as refused:
        await tables.apply(f"add table inet {ROUTING_TABLE}\n{line}")
    assert "line 2" in str(refused.value)
    assert "10.9.9.9, 10.9.9.8 . 1 }" in str(refused.value)
    assert len(str(refused.value)) < 400


async def test_many_faults_are_told_by_the_first_three(tables: NfTables) -> None:
    """The kernel faults each line of a transaction that it refuses; three are quoted, the others counted."""
    with pytest.raises(RulesetError, match=r"line 3: .*; and 17 more$"):
        await tables.apply("".join(f"delete table inet nobody{number}\n" for number in range(20)))


@pytest.mark.parametrize("text", ["bogus", "table inet x {\n", "add rule inet\n"])
async def test_text_that_is_no_ruleset_is_rejected(tables: NfTables, text: str) -> None:
    """A syntax error is the text's fault, not the kernel's."""
    with pytest.raises(RulesetError, match="syntax error") as refused:
        await tables.apply(text)
    assert refused.value.kind == "rejected"


async def test_a_chain_that_the_kernel_cannot_have_is_unsupported(tables: NfTables) -> None:
    """What the kernel says it does not support is neither the text's fault nor a missing capability."""
    with pytest.raises(RulesetError, match="Operation not supported") as refused:
        await tables.apply("table inet x {\n\tchain c {\n\t\ttype nat hook forward priority raw;\n\t}\n}\n")
    assert refused.value.kind == "unsupported"


async def test_without_the_capability_the_message_names_it(
    namespace: Namespace, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without NET_ADMIN one line says which capability is missing, and libnftables adds none of its own."""

    def enter() -> None:
        namespace.enter()
        drop_net_admin()

    with pytest.raises(RulesetError, match="NET_ADMIN") as refused:
        async with NfTables(enter=enter) as tables:
            await tables.read(GUARD_TABLE)
    assert refused.value.kind == "permission"
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


async def test_a_missing_library_is_a_mistake_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where libnftables is missing, one line says what to install, and nothing else is printed or left."""
    monkeypatch.setattr(nft, "_LIBRARY", "libnftables.so.0")
    with pytest.raises(SettingsError, match="install libnftables") as mistake:
        async with NfTables():
            pass
    assert len(mistake.value.mistakes) == 1


async def test_timed_elements_are_told_from_permanent_ones(tables: NfTables) -> None:
    """In one set, an element that expires and one that does not have different values."""
    await install(tables, SERVICE, Contents())
    await tables.apply(f"add element inet {ROUTING_TABLE} frontends4 {{ 10.0.0.1 . 80 timeout 60s, 10.0.0.2 . 80 }}\n")
    assert (await elements(tables))[f"{ROUTING_TABLE} frontends4"] == {"10.0.0.1 . 80": TIMED, "10.0.0.2 . 80": ""}


async def test_elements_of_other_kinds_are_kept_as_something_that_is_never_wanted(tables: NfTables) -> None:
    """What somebody else put into our table is read, whatever it is, and equals nothing that we would write."""
    await install(tables, SERVICE, Contents())
    await tables.apply(
        f"table inet {ROUTING_TABLE} {{\n"
        "\tset ranges {\n\t\ttype ipv4_addr; flags interval; elements = { 10.0.0.0/8, 11.0.0.1-11.0.0.5 }\n\t}\n"
        "\tmap verdicts {\n\t\ttype ipv4_addr : verdict; elements = { 10.0.0.1 : accept }\n\t}\n"
        "\tset counted {\n\t\ttype ipv4_addr; counter; elements = { 10.0.0.1 counter packets 3 bytes 4 }\n\t}\n}\n"
    )
    found = await elements(tables)
    assert len(found[f"{ROUTING_TABLE} ranges"]) == 2
    assert all(key.startswith("{") for key in found[f"{ROUTING_TABLE} ranges"])
    assert found[f"{ROUTING_TABLE} verdicts"] == {"10.0.0.1": '{"accept":null}'}
    assert found[f"{ROUTING_TABLE} counted"] == {"10.0.0.1": ""}


async def test_packets_are_counted_by_chain(namespace: Namespace, tables: NfTables) -> None:
    """The counters of a chain's rules are added up, and counting is no change of the structure."""
    rules = "".join(f"\t\tudp dport {port} counter\n" for port in (7001, 7002))
    hook = "\t\ttype filter hook output priority 0;\n"
    await tables.apply(f"table inet counted {{\n\tchain sent {{\n{hook}{rules}\t}}\n\tchain empty {{\n\t}}\n}}\n")
    before = await tables.read("counted")
    configure(namespace, "link set lo up")
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for port in (7001, 7002, 7002):
            sender.sendto(b"x", ("127.0.0.1", port))
    after = await tables.read("counted")
    assert before is not None
    assert after is not None
    assert after.structure == before.structure
    assert (before.packets, after.packets) == ({"sent": 0}, {"sent": 3})


async def test_a_big_neighbour_is_not_read(namespace: Namespace, tables: NfTables) -> None:
    """Beside 4,000 chains and 100,000 elements of another table, ours are read and written without fetching those.

    Listing that table takes 0.3 s here, and one of our calls 0.01: both as slow as the machine is at the moment.
    """
    write_rules(namespace, big_table(elements=100_000, chains=4000))
    layout = Layout(mode=Mode.ENDPOINTS)
    few, many = (wanted_elements(layout, full(layout, servers=servers)) for servers in (1, 7))
    await install(tables, layout, full(layout, servers=1))
    started = time.monotonic()
    await asyncio.to_thread(read_rules, namespace, "ip kube-proxy")
    reading, started = time.monotonic() - started, time.monotonic()
    for _ in range(5):
        await tables.apply(element_changes(few, many))
        await tables.apply(element_changes(many, few))
        assert await elements(tables) == few
    assert (time.monotonic() - started) / 20 < reading / 4


async def test_contexts_in_two_namespaces_are_apart(tables: NfTables) -> None:
    """A table in one network namespace is not seen from another, in one process."""
    with Namespace() as elsewhere:
        async with NfTables(enter=elsewhere.enter) as others:
            await others.apply(guard_table(SERVICE))
            assert await others.read(GUARD_TABLE) is not None
    assert await tables.read(GUARD_TABLE) is None


def open_files() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_left_open(namespace: Namespace) -> None:
    """However often it is entered, and whatever is refused, no file stays open."""
    before = open_files()
    for _ in range(3):
        async with NfTables(enter=namespace.enter) as tables:
            await install(tables, SERVICE, full(SERVICE))
            await tables.read(GUARD_TABLE)
            with pytest.raises(RulesetError):
                await tables.apply("bogus\n")
    assert open_files() == before
