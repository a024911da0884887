"""The rules as text: pure functions from layout and contents to what nftables reads, and lists.

Two tables. The guard refuses whatever is addressed to the metadata service when it gets there, and the routing
table, ten places before, sees to it that pods' connections do not get there: it rewrites their destination.

    pod -> there (raw + 50: rewrite) -> guard (raw + 60) -> [balance] -> routing -> unserved, guard (forward)
    pod <- back (srcnat + 50: rewrite) <- conntrack's translation (srcnat)

The rewrite keeps no state: kube-proxy's chain would be skipped for a connection that another nat chain has
translated, and mark bits all belong to some CNI. In endpoints mode a nat chain follows, with a stand-in
address in the cluster IP's place.

Structures are written exactly as `nft --stateless --terse list table` prints them, so that one text is what
is installed, what a reviewer reads and what the kernel's state is compared with.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ip2service.layout import SLOTS, STAND_IN, Contents, Family, Layout, Mode, Route

GUARD_TABLE: Final = "ip2service_guard"
ROUTING_TABLE: Final = "ip2service"
GUARD_VERSION: Final = 1
"""Frozen: the boot rules of nodes that are running install this layout."""
ROUTING_VERSION: Final = 1

EXEMPT_TIMEOUT: Final = 60
"""Seconds for which a server pod stays exempt unless renewed: its address may soon be another pod's."""
RETIRED_TIMEOUT: Final = 600
"""Seconds for which replies from an earlier cluster IP are still rewritten, for connections that linger."""

TIMED: Final = "timeout"
"""In `Elements`, the value of a set's element that expires by itself."""

Elements = Mapping[str, Mapping[str, str]]
"""By table and name of the set or map ("ip2service open4"): each element's key, and its value ("" in a set)."""

_RAW = -300
_SRCNAT = 100
_FORWARD = "type filter hook forward priority filter{}; policy accept;"
# Opening packets and all others. With one map for both, closing the gate would reset connections that are well.
_SYN = "tcp flags syn / syn,ack"
_NOT_SYN = "tcp flags != syn / syn,ack"


def owner_comment(table: str) -> str:
    """How the comment of a table of ours begins."""
    return f"ip2service {'guard' if table == GUARD_TABLE else 'routing'} "


def guard_table(layout: Layout, *, origin: str = "router") -> str:
    """The guard. `origin` says who installed it: "boot" or "router"."""
    comment = f"{owner_comment(GUARD_TABLE)}{GUARD_VERSION} {origin}"
    rules = [rule for family in layout.intercepted for rule in _guard_rules(layout, family)]
    return _table(
        GUARD_TABLE,
        comment,
        [_exempt_set(family) for family in layout.intercepted],
        [
            _chain("prerouting", f"type filter hook prerouting priority {_RAW + 60}; policy accept;", rules),
            _chain("forward", _FORWARD.format(""), rules),
        ],
    )


def _guard_rules(layout: Layout, family: Family) -> Iterator[str]:
    header, address = family.header, layout.intercepted[family]
    refusal = "icmp port-unreachable" if family is Family.IPV4 else "icmpv6 port-unreachable"
    port = layout.intercepted_port
    yield f"{header} saddr @exempt{family.value} {header} daddr {address} tcp dport {port} accept"
    yield f"{header} daddr {address} meta l4proto tcp counter reject with tcp reset"
    yield f"{header} daddr {address} counter reject with {refusal}"


def routing_table(layout: Layout) -> str:
    """The routing table's structure. Without elements it routes nothing, and the guard refuses everything."""
    families = list(layout.intercepted)
    sets = [declaration for family in families for declaration in _routing_sets(layout, family)]
    chains = [
        _chain(
            "there",
            f"type filter hook prerouting priority {_RAW + 50}; policy accept;",
            [rule for family in families for rule in _there_rules(layout, family)],
        ),
        _chain(
            "back",
            f"type filter hook postrouting priority {_SRCNAT + 50}; policy accept;",
            [_back_rule(layout, family) for family in families],
        ),
        _chain(
            "unserved",
            _FORWARD.format(" - 10"),
            [
                f"{family.header} daddr . tcp dport @frontends{family.value} counter reject with tcp reset"
                for family in families
            ],
        ),
    ]
    if layout.mode is Mode.ENDPOINTS:
        chains.insert(1, _balance_chain(layout))
    return _table(ROUTING_TABLE, f"{owner_comment(ROUTING_TABLE)}{ROUTING_VERSION}", sets, chains)


def _routing_sets(layout: Layout, family: Family) -> Iterator[str]:
    address, number = family.address_type, family.value
    yield _exempt_set(family)
    yield _block(f"map opening{number}", [f"type {address} . inet_service : {address}"])
    yield _block(f"map open{number}", [f"type {address} . inet_service : {address}"])
    yield _block(f"set frontends{number}", [f"type {address} . inet_service", "flags timeout"])
    if layout.mode is Mode.ENDPOINTS:
        key = f"numgen random mod {SLOTS}"
        yield _block(f"map endpoints{number}", [f"typeof {key} : {family.header} daddr . tcp dport"])


def _there_rules(layout: Layout, family: Family) -> Iterator[str]:
    header, number = family.header, family.value
    to_metadata = f"{header} daddr {layout.intercepted[family]} tcp dport {layout.intercepted_port}"
    rewrite = f"{header} daddr set {header} daddr . tcp dport map"
    port = f"tcp dport set {layout.router_port}"
    yield f"{header} saddr @exempt{number} accept"
    yield f"{to_metadata} {_SYN} {rewrite} @opening{number} {port} counter"
    yield f"{to_metadata} {_NOT_SYN} {rewrite} @open{number} {port}"


def _back_rule(layout: Layout, family: Family) -> str:
    header, address, port = family.header, layout.intercepted[family], layout.intercepted_port
    replies = f"{header} saddr . tcp sport @frontends{family.value}"
    return f"{replies} counter {header} saddr set {address} tcp sport set {port}"


def _balance_chain(layout: Layout) -> str:
    """Twice the same rule: a lookup that runs while its element is replaced may find neither of the two."""
    rules = []
    for family in layout.intercepted:
        frontend = f"{family.header} daddr {STAND_IN[family]} tcp dport {layout.router_port}"
        translation = f"dnat {family.header} to numgen random mod {SLOTS} map @endpoints{family.value}"
        rules += [f"{frontend} {translation}"] * 2
    return _chain("balance", "type nat hook prerouting priority dstnat - 5; policy accept;", rules)


def installation(layout: Layout, elements: Elements) -> str:
    """One transaction that puts the routing table with these elements in the place of any earlier one."""
    return removal([ROUTING_TABLE]) + routing_table(layout) + element_changes({}, elements)


def guard_installation(layout: Layout, elements: Elements) -> str:
    """The same for the guard. Only where there is none, or another one: a guard in place is left alone."""
    guards = {name: keys for name, keys in elements.items() if name.startswith(f"{GUARD_TABLE} ")}
    return removal([GUARD_TABLE]) + guard_table(layout) + element_changes({}, guards)


def removal(tables: Iterable[str]) -> str:
    """Delete tables, whether they are there or not."""
    return "".join(f"table inet {table}\ndelete table inet {table}\n" for table in tables)


def wanted_elements(layout: Layout, contents: Contents) -> Elements:
    """What all maps and sets of both tables hold for these contents."""
    elements: dict[str, Mapping[str, str]] = {}
    for family in layout.intercepted:
        elements |= _family_elements(layout, family, contents.route(family))
    return elements


def _family_elements(layout: Layout, family: Family, route: Route) -> Iterator[tuple[str, Mapping[str, str]]]:
    number = family.value
    intercepted = f"{layout.intercepted[family]} . {layout.intercepted_port}"
    there = {intercepted: str(route.frontend)} if route.frontend is not None else {}
    exempt = {str(address): TIMED for address in sorted(route.exempt or ())}
    for name in _exempt_sets(family):
        yield name, exempt
    yield f"{ROUTING_TABLE} opening{number}", there if route.gate else {}
    yield f"{ROUTING_TABLE} open{number}", there
    yield f"{ROUTING_TABLE} frontends{number}", {f"{address} . {layout.router_port}": "" for address in there.values()}
    if layout.mode is Mode.ENDPOINTS:
        yield f"{ROUTING_TABLE} endpoints{number}", _slots(route)


def _slots(route: Route) -> Mapping[str, str]:
    endpoints = route.endpoints[:SLOTS]
    if not endpoints:
        return {}
    shares = (endpoints[slot % len(endpoints)] for slot in range(SLOTS))
    return {str(slot): f"{endpoint.address} . {endpoint.port}" for slot, endpoint in enumerate(shares)}


def element_changes(actual: Elements, wanted: Elements) -> str:
    """What makes the wanted elements of the actual ones: lines of one transaction, empty where nothing differs.

    A cluster IP that is no longer wanted stays for a while among the frontends: replies are still coming from it.
    """
    return "".join(line for name in wanted for line in _set_changes(name, actual.get(name, {}), wanted[name]))


def elements_after(actual: Elements, wanted: Elements) -> Elements:
    """What the kernel holds once `element_changes(actual, wanted)` has been applied."""
    return {name: _retired(name, actual.get(name, {}), wanted[name]) | dict(wanted[name]) for name in wanted}


def _retired(name: str, actual: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    return {key: TIMED for key in actual if key not in wanted} if retires(name) else {}


def left_to_expire(layout: Layout, contents: Contents) -> frozenset[str]:
    """The sets whose elements go when their time is over and not before, though these contents do not have them.

    Cluster IPs of before, and exempt pods while nobody knows who should be.
    """
    unknown = [family for family in layout.intercepted if contents.route(family).exempt is None]
    retiring = {f"{ROUTING_TABLE} frontends{family.value}" for family in layout.intercepted}
    return frozenset(retiring.union(*map(_exempt_sets, unknown)))


def _exempt_sets(family: Family) -> tuple[str, str]:
    return f"{GUARD_TABLE} exempt{family.value}", f"{ROUTING_TABLE} exempt{family.value}"


def retires(name: str) -> bool:
    """Whether what is no longer wanted in this set expires, instead of being deleted."""
    return name.startswith(f"{ROUTING_TABLE} frontends")


def foreign_elements(known: Elements, found: Elements) -> Elements:
    """What was found in sets whose elements expire, and never was ours: it would be taken for what was, and stay."""
    return {
        name: {key: value for key, value in keys.items() if key not in known.get(name, {})}
        for name, keys in found.items()
        if retires(name)
    }


def deletion(elements: Elements) -> str:
    """Delete these, at once. Those that expire may do so in this moment: they are added first."""
    lines: list[str] = []
    for name, keys in elements.items():
        lines += _line("add", name, (_element(key, TIMED, EXEMPT_TIMEOUT) for key in keys if keys[key] == TIMED))
        lines += _line("delete", name, keys)
    return "".join(lines)


def _set_changes(name: str, actual: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    retiring = retires(name)
    gone = [key for key, value in actual.items() if key not in wanted and not (retiring and value == TIMED)]
    changed = [key for key, value in wanted.items() if key in actual and actual[key] != value]
    new = [key for key in wanted if key not in actual]
    timeout = RETIRED_TIMEOUT if retiring else EXEMPT_TIMEOUT
    expiring = [key for key in (*gone, *changed) if actual[key] == TIMED]
    yield from _line("add", name, (f"{key} timeout {timeout}s" for key in expiring))  # it may have expired by now
    yield from _line("delete", name, (*gone, *changed))
    yield from _line("add", name, (_element(key, wanted[key], timeout) for key in (*changed, *new)))
    if retiring:
        yield from _line("add", name, (f"{key} timeout {timeout}s" for key in gone))


def renewal(contents: Contents) -> str:
    """What lets the exempt pods stay so for another `EXEMPT_TIMEOUT`.

    The kernel keeps the time of an element that is added again, so each is deleted and added, and added before
    in case that it has just expired.
    """
    lines: list[str] = []
    for family, route in contents.routes.items():
        exempt = sorted(route.exempt or ())
        keys = [f"{address} timeout {EXEMPT_TIMEOUT}s" for address in exempt]
        for name in _exempt_sets(family):
            lines += _line("add", name, keys)
            lines += _line("delete", name, exempt)
            lines += _line("add", name, keys)
    return "".join(lines)


def _element(key: str, value: str, timeout: int) -> str:
    if value == TIMED:
        return f"{key} timeout {timeout}s"
    return f"{key} : {value}" if value else key


def _line(verb: str, name: str, elements: Iterable[str]) -> Iterator[str]:
    listed = ", ".join(elements)
    if listed:
        yield f"{verb} element inet {name} {{ {listed} }}\n"


def _exempt_set(family: Family) -> str:
    return _block(f"set exempt{family.value}", [f"type {family.address_type}", "flags timeout"])


def _table(name: str, comment: str, sets: Iterable[str], chains: Iterable[str]) -> str:
    blocks = "\n".join((*sets, *chains))
    return f'table inet {name} {{\n\tcomment "{comment}"\n{blocks}}}\n'


def _chain(name: str, hook: str, rules: Iterable[str]) -> str:
    return _block(f"chain {name}", [hook, *rules])


def _block(head: str, lines: Iterable[str]) -> str:
    body = "".join(f"\t\t{line}\n" for line in lines)
    return f"\t{head} {{\n{body}\t}}\n"
