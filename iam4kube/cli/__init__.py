"""The `iam4kube` command: arguments in, exit code out. What a command does belongs to the packages below.

Each command imports what it needs when it runs: kubernetes, boto3 and FastAPI together take 0.6 s, which a
probe every ten seconds or a `--version` should not pay for.
"""

import os
from collections.abc import Mapping, Sequence
from typing import NoReturn

from iam4kube.runtime.endings import run_process


def main() -> NoReturn:
    """The process: run its command line, and end with the exit code."""
    run_process(command)


def command(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command line (that of the process if None) and return the exit code."""
    from iam4kube.cli.arguments import command_parser
    from iam4kube.runtime.commands import run_command_line

    return run_command_line(command_parser(), arguments, environ)
