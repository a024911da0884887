"""Signs that the node's network leads pods' packets past netfilter, where no rule of ours sees them.

Cilium without kube-proxy or with its own host routing, Calico's eBPF data plane, ipvlan and the like do. A router
that called itself ready there would let every pod have the node's role. Two kinds of signs: links that such a plugin
makes, and connections whose opening packets we rewrote while replies never came through.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

UNANSWERED_LIMIT: Final = 20
"""Opening packets, repeated ones included: with fewer, pods may just be asking a server that has died."""
UNANSWERED_SECONDS: Final = 30.0
"""Since the first of them. A client's connection is given up after one."""

_ACCEPT: Final = "or set --accept-bypass if you know that metadata traffic passes nftables or is refused elsewhere"


@dataclass(frozen=True)
class _Plugin:
    link: str
    name: str
    remedy: str


_PLUGINS: Final = (
    _Plugin(
        link="cilium_host",
        name="Cilium, which may lead pods' packets past nftables",
        remedy="run it with bpf.hostLegacyRouting=true, and beside kube-proxy or with --mode=endpoints here",
    ),
    _Plugin(
        link="bpfin.cali",
        name="Calico with its eBPF data plane, which leads pods' packets past nftables",
        remedy="choose its iptables or nftables data plane",
    ),
)


def link_sign(links: Collection[str]) -> str:
    """What the names of the node's links say, in a sentence with the remedy; empty if nothing."""
    for plugin in _PLUGINS:
        if plugin.link in links:
            return f"the link {plugin.link} belongs to {plugin.name}: {plugin.remedy}; {_ACCEPT}"
    return ""


class BypassSigns:
    """Judges from what is observed again and again. Counts are those of the kernel's rules, since they were made."""

    def __init__(self) -> None:
        self._answered_until: int | None = None
        self._unanswered_since: float | None = None

    def judge(self, *, links: Collection[str], opening: int, replies: int, gate: bool, now: float) -> str:
        """A sentence with the remedy; empty if all seems well.

        `opening` and `replies`: packets counted in the chains `there` and `back`. `gate`: whether new connections are
        let in; while they are not, nobody replies. `now`: seconds of the event loop's clock.
        """
        return link_sign(links) or self._packet_sign(opening=opening, replies=replies, gate=gate, now=now)

    def _packet_sign(self, *, opening: int, replies: int, gate: bool, now: float) -> str:
        # One reply ever is enough: packets come this way, and servers that fall silent later are no bypass.
        # Fewer openings than before: the rules, and with them the counts, were made anew.
        if replies or not gate or self._answered_until is None or opening < self._answered_until:
            self._answered_until, self._unanswered_since = opening, None
            return ""
        unanswered = opening - self._answered_until
        if unanswered and self._unanswered_since is None:
            self._unanswered_since = now
        if self._unanswered_since is None or now - self._unanswered_since < UNANSWERED_SECONDS:
            return ""
        if unanswered < UNANSWERED_LIMIT:
            return ""
        return (
            f"{unanswered} connection attempts of pods were rewritten, and no reply ever came back through nftables: "
            "replies may be led past it, or a network policy may keep pods from the servers; allow pods the Service's "
            f"router port, choose a data plane that passes nftables, {_ACCEPT}"
        )
