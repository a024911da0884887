"""Taking everything of ours out of the kernel, and nothing else."""

import asyncio
from dataclasses import dataclass
from typing import Final

from ip2service.kernel_access import Kernel, open_kernel
from ip2service.kernel_protocols import ForeignTable
from ip2service.mistakes import kernel_mistakes
from ip2service.ruleset import owner_comment, removal
from ip2service.settings import InterceptionSettings

SETTLING_SECONDS: Final = 1.5
"""After which a router that still runs has repaired what was removed: it does so in under a second."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What was done."""

    removed: tuple[str, ...]
    """A line about each thing."""
    came_back: bool
    """Whether somebody has installed some of it again meanwhile."""
    refusing: tuple[str, ...]
    """What deletes each policy rule that refuses pods still, at another priority: somebody else's, or of an earlier
    setting."""


async def uninstall(settings: InterceptionSettings) -> Removal:
    """Remove what is ours, and look whether it stays away.

    Raises `SettingsError`; where a table of our name is somebody else's, with nothing changed.
    """
    with kernel_mistakes():
        async with open_kernel(settings.layout, rule_priority=settings.rule_priority) as kernel:
            removed = await remove(kernel)
            if removed:
                await asyncio.sleep(SETTLING_SECONDS)
            left, refusing = await kernel.snapshot(), await kernel.refusing()
            return Removal(
                removed=removed,
                came_back=bool(left.tables or left.policy),
                refusing=tuple(sorted(rule.command("delete") for rule in refusing)),
            )


async def remove(kernel: Kernel) -> tuple[str, ...]:
    """Remove the tables and policy rules that are there, and return a line about each.

    Raises `ForeignTable`, with nothing changed, and `KernelError`.
    """
    found = await kernel.snapshot()
    if foreign := [name for name, each in found.tables.items() if not each.comment.startswith(owner_comment(name))]:
        raise ForeignTable(foreign)
    if found.tables:
        await kernel.tables.apply(removal(found.tables))
    # What refuses first: between the two, the node itself would be refused.
    rules = sorted(found.policy, key=lambda rule: rule.priority, reverse=True)
    for rule in rules:
        await kernel.policy.delete(rule)
    return (*(f"table inet {name}" for name in found.tables), *(f"policy rule {rule}" for rule in rules))
