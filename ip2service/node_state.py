"""The kernel read once, for `ip2service check`."""

from ip2service.bypass import link_sign
from ip2service.inspection import Finding, findings
from ip2service.kernel_access import open_kernel
from ip2service.mistakes import kernel_mistakes
from ip2service.settings import CheckSettings


async def inspect_node(settings: CheckSettings) -> list[Finding]:
    """What there is to say of this node. Raises `SettingsError` where the kernel cannot be asked."""
    routing = settings.routing
    with kernel_mistakes():
        async with open_kernel(routing.layout, rule_priority=routing.rule_priority) as kernel:
            found, refusing = await kernel.snapshot(), await kernel.refusing()
            sign = link_sign(await kernel.link_names())
            layout = kernel.layout
    return findings(
        found,
        layout,
        rule_priority=routing.rule_priority,
        refusing=refusing,
        bypass=sign,
        bypass_accepted=settings.bypass.accept_bypass,
    )
