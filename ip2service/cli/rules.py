"""`ip2service rules`: the rules as text, for whoever reviews them."""

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from iam4kube.runtime.settings import add_settings, read_settings
from ip2service.settings import PREFIX, RoutingSettings

if TYPE_CHECKING:
    from iam4kube.runtime.arguments import SettingsParser

_DESCRIPTION = """\
Print the rules that the router installs with these settings, without touching the kernel: two nftables tables, and
the policy rules. Maps and sets are empty here: what they hold comes from the cluster. For example

  ip2service rules --mode=endpoints
  ip2service rules --intercept-address=169.254.169.254    a cluster without IPv6"""


def add_command(commands: "argparse._SubParsersAction[SettingsParser]") -> None:
    """Add the command and its flags."""
    parser = commands.add_parser("rules", help="print the rules without touching the kernel", description=_DESCRIPTION)
    add_settings(parser, RoutingSettings, PREFIX)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(RoutingSettings, arguments, environ, PREFIX)
    print("\n".join(_rules(settings)))
    return 0


def _rules(settings: RoutingSettings) -> Iterator[str]:
    from ip2service.layout import Contents
    from ip2service.policy_rules import wanted_rules
    from ip2service.ruleset import guard_table, routing_table

    yield "# Written once and never flushed: refuses whatever is addressed to the metadata service when it gets here."
    yield guard_table(settings.layout)
    yield "# Sends pods' connections to the Service while the maps say where it is."
    yield routing_table(settings.layout)
    yield "# In policy routing, for when another program has flushed all of nftables:"
    wanted = wanted_rules(settings.layout, Contents(), priority=settings.rule_priority)
    for rule in sorted(wanted, key=lambda rule: (rule.family.value, rule.priority)):
        yield f"# ip -{rule.family.value} rule add {rule}"
