"""The rules as a reviewer reads them: one file for each mode and family, compared letter by letter.

After a change that is meant: `python -m tests.unit.ip2service.test_ruleset_texts` writes them anew, and the
difference is what is reviewed. tests/netns proves that the kernel takes them, and lists them in the same words.
"""

from pathlib import Path

import pytest

from iam4kube.kube.objects import Address
from ip2service.layout import STAND_IN, Contents, Endpoint, Family, Layout, Mode, Route
from ip2service.ruleset import guard_installation, guard_table, installation, wanted_elements

GOLDEN = Path(__file__).parent / "golden"
FAMILIES = {"ipv4": [Family.IPV4], "ipv6": [Family.IPV6], "dual": [Family.IPV4, Family.IPV6]}
CASES = [(mode, families) for mode in Mode for families in FAMILIES]
CLUSTER_IPS = {Family.IPV4: Address("10.96.0.50"), Family.IPV6: Address("fd00:10:96::50")}
ENDPOINTS = {
    Family.IPV4: (Endpoint(Address("10.1.2.3"), 8080), Endpoint(Address("10.1.2.4"), 8080)),
    Family.IPV6: (Endpoint(Address("fd00:10:1::3"), 8080), Endpoint(Address("fd00:10:1::4"), 8080)),
}
EXEMPT = {Family.IPV4: Address("10.1.9.9"), Family.IPV6: Address("fd00:10:1::99")}


def layout(mode: Mode, families: str) -> Layout:
    """The default addresses of these families."""
    intercepted = {family: address for family, address in Layout().intercepted.items() if family in FAMILIES[families]}
    return Layout(mode=mode, intercepted=intercepted)


def contents(of: Layout) -> Contents:
    """A node on which all is well, with a server pod of its own."""
    endpoints = of.mode is Mode.ENDPOINTS
    return Contents(
        routes={
            family: Route(
                frontend=STAND_IN[family] if endpoints else CLUSTER_IPS[family],
                gate=True,
                endpoints=ENDPOINTS[family] if endpoints else (),
                exempt=frozenset({EXEMPT[family]}),
            )
            for family in of.intercepted
        }
    )


def everything(mode: Mode, families: str) -> str:
    """Both tables as a router that starts installs them, long lists abridged."""
    chosen = layout(mode, families)
    elements = wanted_elements(chosen, contents(chosen))
    text = guard_installation(chosen, elements) + installation(chosen, elements)
    return "".join(f"{abridged(line)}\n" for line in text.splitlines())


def abridged(line: str) -> str:
    """A list of elements without its middle; `test_ruleset` looks at every slot."""
    elements = line.split(", ")
    if len(elements) <= 10:
        return line
    return ", ".join((*elements[:3], f"({len(elements) - 4} more)", elements[-1]))


@pytest.mark.parametrize(("mode", "families"), CASES)
def test_the_rules_are_those_that_were_reviewed(mode: Mode, families: str) -> None:
    """Whoever changes a rule changes a file that is read as a whole."""
    assert everything(mode, families) == (GOLDEN / f"{mode.value}-{families}.nft").read_text()


def test_the_guard_is_the_same_in_every_mode() -> None:
    """Its layout is frozen: the boot rules know neither mode nor Service."""
    assert guard_table(Layout(mode=Mode.SERVICE)) == guard_table(Layout(mode=Mode.ENDPOINTS, router_port=1234))


def test_nothing_is_asked_of_interfaces_and_marks() -> None:
    """Every list of interface names is wrong on some CNI, and every mark bit belongs to one."""
    texts = [everything(mode, families) for mode, families in CASES]
    words = {word for text in texts for word in text.split()}
    assert not words & {"iif", "iifname", "oif", "oifname", "mark", "ct", "flush"}


def test_a_family_without_an_intercepted_address_is_not_named_at_all() -> None:
    """A node without IPv6 gets no rule that its kernel may not know."""
    assert "ip6" not in everything(Mode.ENDPOINTS, "ipv4")
    assert "ip " not in everything(Mode.ENDPOINTS, "ipv6")


if __name__ == "__main__":
    for each in CASES:
        (GOLDEN / f"{each[0].value}-{each[1]}.nft").write_text(everything(*each))
