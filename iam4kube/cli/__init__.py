"""The `iam4kube` command: arguments in, exit code out. What a command does belongs to the packages below.

Each command imports what it needs when it runs: kubernetes, boto3 and FastAPI together take 0.6 s, which a
probe every ten seconds or a `--version` should not pay for.
"""

import os
import sys
from collections.abc import Mapping, Sequence

from iam4kube.cli.arguments import command_parser
from iam4kube.runtime.mistakes import SettingsError

EXIT_MISTAKE = 2
"""What was asked cannot be done as it was asked: a flag, a file or an address is wrong."""
_EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command line and return the exit code. A mistake is one line on standard error, and never a traceback."""
    parser = command_parser()
    try:
        parsed = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
        code: int = parsed.run(parsed, environ)
    except SettingsError as error:
        for mistake in error.mistakes:
            print(f"iam4kube: {mistake}", file=sys.stderr)  # noqa: T201  # a command's own output
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    return code
