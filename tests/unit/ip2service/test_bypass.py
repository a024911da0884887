"""Signs that packets are led past netfilter."""

import pytest

from ip2service.bypass import UNANSWERED_LIMIT, UNANSWERED_SECONDS, BypassSigns, link_sign

NODE = frozenset({"lo", "eth0", "eni0a1b2c"})


class Observed:
    """What the signs are told, one observation after the other."""

    def __init__(self) -> None:
        self._signs = BypassSigns()
        self._now = 1000.0

    def after(
        self, seconds: float, *, opening: int, replies: int = 0, gate: bool = True, links: frozenset[str] = NODE
    ) -> str:
        """The verdict so many seconds later."""
        self._now += seconds
        return self._signs.judge(links=links, opening=opening, replies=replies, gate=gate, now=self._now)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("cilium_host", ["Cilium", "bpf.hostLegacyRouting=true", "--mode=endpoints"]),
        ("bpfin.cali", ["Calico", "nftables"]),
    ],
)
def test_a_plugin_is_known_by_its_link(link: str, words: list[str]) -> None:
    """The sentence names the link, the plugin, the remedy and the setting that accepts it, in one line."""
    sign = link_sign(NODE | {link})
    assert all(word in sign for word in [link, "--accept-bypass", *words])
    assert "\n" not in sign
    assert Observed().after(0, opening=0, links=NODE | {link}) == sign


@pytest.mark.parametrize("link", ["cilium_net0", "lxc1234", "cali12345", "bpfin", "eth0"])
def test_other_links_are_no_sign(link: str) -> None:
    """Calico's links without its eBPF data plane, for one."""
    assert link_sign(NODE | {link}) == ""


def test_openings_without_a_reply_are_a_sign_after_a_while() -> None:
    """Both are needed: enough opening packets, and half a minute since the first of them."""
    observed = Observed()
    assert observed.after(0, opening=0) == ""
    assert observed.after(100, opening=1) == ""
    assert observed.after(UNANSWERED_SECONDS - 1, opening=UNANSWERED_LIMIT) == ""
    sign = observed.after(1, opening=UNANSWERED_LIMIT)
    assert f"{UNANSWERED_LIMIT} connection attempts" in sign
    assert "--accept-bypass" in sign


def test_a_few_openings_are_no_sign() -> None:
    """However long ago they were."""
    observed = Observed()
    observed.after(0, opening=0)
    for _ in range(10):
        assert observed.after(60, opening=UNANSWERED_LIMIT - 1) == ""


def test_a_burst_is_no_sign_before_its_replies_can_be_there() -> None:
    """The time counts from the first opening packet and not from the start."""
    observed = Observed()
    observed.after(0, opening=0)
    assert observed.after(600, opening=1000) == ""


def test_one_reply_ever_is_proof_that_packets_pass() -> None:
    """Servers that fall silent later are no bypass."""
    observed = Observed()
    observed.after(0, opening=0)
    assert observed.after(60, opening=1000, replies=1) == ""
    assert observed.after(60, opening=2000, replies=1) == ""


def test_a_sign_goes_with_the_first_reply() -> None:
    """It is judged each time, not remembered."""
    observed = Observed()
    observed.after(0, opening=0)
    observed.after(1, opening=50)
    assert observed.after(60, opening=100)
    assert observed.after(1, opening=100, replies=1) == ""


def test_what_came_while_nobody_was_let_in_does_not_count() -> None:
    """Behind a closed gate opening packets are refused: there is nobody to reply."""
    observed = Observed()
    observed.after(0, opening=0)
    assert observed.after(60, opening=1000, gate=False) == ""
    assert observed.after(1, opening=1000) == ""
    assert observed.after(60, opening=1001) == ""
    assert observed.after(60, opening=1001) == ""


def test_what_an_earlier_process_left_does_not_count() -> None:
    """Its rules are adopted with their counts, of which nobody knows when they were counted."""
    observed = Observed()
    assert observed.after(0, opening=1000) == ""
    assert observed.after(60, opening=1000) == ""


def test_counts_begin_anew_with_the_rules() -> None:
    """A table that was made anew counts from zero."""
    observed = Observed()
    observed.after(0, opening=1000)
    assert observed.after(1, opening=3) == ""
    assert observed.after(60, opening=3) == ""
    assert observed.after(60, opening=3 + UNANSWERED_LIMIT) == ""
    assert observed.after(60, opening=3 + UNANSWERED_LIMIT)
