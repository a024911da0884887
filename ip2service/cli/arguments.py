"""The commands and their arguments: what `ip2service --help` shows."""

import argparse

from iam4kube import __version__
from iam4kube.runtime.arguments import SettingsParser
from ip2service.cli import boot_rules, check, rules, run, uninstall

_DESCRIPTION = """\
Routes pods' requests to the EC2 instance metadata service (169.254.169.254) to the iam4kube Service,
by nftables rules on each node, and lets nothing through to the real one."""

_EPILOGUE = """\
On a node, or in the router's pod on it:
  ip2service check                   what happens to metadata traffic now
  ip2service rules                   the rules, without touching the kernel
  ip2service boot-rules              the rules for a node's boot, before any pod starts
  ip2service uninstall               remove every rule; pods reach the real metadata service then

Exit codes: 0 done, or all is well; 1 failed, or something is missing; 2 a mistake in arguments or settings,
or a permission is missing (one line each, on standard error); 143 ended at once by SIGTERM: before it had begun,
or the second time."""


def command_parser() -> SettingsParser:
    """The parser of the whole command. Each command leaves its function in `run`."""
    parser = SettingsParser(
        prog="ip2service",
        description=_DESCRIPTION,
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"ip2service {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, prog=parser.prog)
    for module in (run, check, rules, boot_rules, uninstall):
        module.add_command(commands)
    return parser
