"""What the routing table's counters say of connections: pure functions of the packets counted by chain.

Resets of our own (chain `unserved`) go back to the pod as replies do, and `back` counts them with those.
"""

from collections.abc import Mapping

Packets = Mapping[str, int]
"""By chain, since the table was made."""


def opening_packets(packets: Packets) -> int:
    """Opening packets that were rewritten."""
    return packets.get("there", 0)


def reset_packets(packets: Packets) -> int:
    """Those of them that were answered by a reset here, because nobody translated their new destination."""
    return packets.get("unserved", 0)


def reply_packets(packets: Packets) -> int:
    """Replies of servers. A little less than there were: some packets are refused without a reset, as resets are."""
    return max(0, packets.get("back", 0) - reset_packets(packets))
