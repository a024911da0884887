"""`ip2service boot-rules`: what a node needs at boot, as files to install."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from iam4kube.runtime.settings import add_settings, read_settings
from ip2service.settings import PREFIX, InterceptionSettings

if TYPE_CHECKING:
    from iam4kube.runtime.arguments import SettingsParser

_DESCRIPTION = """\
Print the rules that refuse the metadata service to pods from a node's boot on, until the router routes it: without
them, pods that start before the router after a reboot reach the real service. Once per node, or in its image, as root:

  mkdir -p /etc/ip2service
  ip2service boot-rules > /etc/ip2service/boot-rules.nft
  ip2service boot-rules --systemd-unit > /etc/systemd/system/ip2service-boot-rules.service
  systemctl enable --now ip2service-boot-rules.service

On a node where the router runs this changes nothing until the next boot. The settings have to be the router's."""


def add_command(commands: "argparse._SubParsersAction[SettingsParser]") -> None:
    """Add the command and its flags."""
    parser = commands.add_parser(
        "boot-rules", help="print the rules for a node's boot, and the unit that loads them", description=_DESCRIPTION
    )
    parser.add_argument("--systemd-unit", action="store_true", help="print the systemd unit instead of the rules")
    add_settings(parser, InterceptionSettings, PREFIX)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(InterceptionSettings, arguments, environ, PREFIX)
    from ip2service.boot import boot_rules, systemd_unit

    if arguments.systemd_unit:
        text = systemd_unit(settings.layout, rule_priority=settings.rule_priority)
    else:
        text = boot_rules(settings.layout)
    print(text, end="")
    return 0
