"""The commands and their arguments: what `iam4kube --help` shows."""

import argparse

from iam4kube import __version__
from iam4kube.cli import demo, health, serve, token_key
from iam4kube.runtime.arguments import SettingsParser

_DESCRIPTION = """\
Gives every pod on a Kubernetes cluster the AWS credentials of its own ServiceAccount,
through an emulated EC2 metadata service that unmodified AWS SDKs understand."""

_EPILOGUE = """\
A ServiceAccount gets a role by an annotation:
  kubectl annotate serviceaccount NAME iam.amazonaws.com/roleArn=arn:aws:iam::123456789012:role/NAME

Exit codes: 0 done, 1 failed or unhealthy, 2 a mistake in arguments or settings (one line each, on standard error),
143 ended at once by SIGTERM: before it had begun, or the second time.
Try it without a cluster and without AWS:  iam4kube demo"""


def command_parser() -> SettingsParser:
    """The parser of the whole command. Each command leaves its function in `run`."""
    parser = SettingsParser(
        prog="iam4kube",
        description=_DESCRIPTION,
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"iam4kube {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, prog=parser.prog)
    for module in (serve, demo, health, token_key):
        module.add_command(commands)
    return parser
