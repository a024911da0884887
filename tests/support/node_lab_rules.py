"""What a laboratory's node has in its kernel, as the tools of everybody list it, and what got past it."""

from collections.abc import Sequence

from tests.support.node_lab import NodeLab


async def arrivals_of_pods(lab: NodeLab) -> set[str]:
    """Whose packets came to the real service, the node's own left out."""
    return set(await lab.arrivals()) - {lab.node.ipv4, lab.node.ipv6}


async def ruleset(lab: NodeLab) -> str:
    """All of nftables, without counters."""
    return await lab.node.command("nft", "--stateless", "list", "ruleset")


async def is_ruleset(lab: NodeLab, wanted: str) -> bool:
    """Whether the tables are these, in whatever order they were made."""
    return sorted((await ruleset(lab)).splitlines()) == sorted(wanted.splitlines())


async def policy_rules(lab: NodeLab) -> Sequence[str]:
    """All policy rules of both families, sorted."""
    listed = [await lab.node.command("ip", version, "rule", "show") for version in ("-4", "-6")]
    return sorted(line for lines in listed for line in lines.splitlines())


async def has_policy_rules(lab: NodeLab, wanted: Sequence[str]) -> bool:
    """Whether the policy rules are these."""
    return await policy_rules(lab) == wanted
