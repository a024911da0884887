"""A command line from arguments to exit code, the same for both programs."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from iam4kube.runtime.arguments import SettingsParser
from iam4kube.runtime.mistakes import SettingsError

Command = Callable[[argparse.Namespace, Mapping[str, str]], int]
"""What a parser of a command leaves in `run`: from arguments and environment to an exit code."""

EXIT_MISTAKE = 2
"""What was asked cannot be done as it was asked: a flag, a file or an address is wrong."""
_EXIT_INTERRUPTED = 130
_EXIT_BROKEN_PIPE = 141


def run_command_line(parser: SettingsParser, arguments: Sequence[str] | None, environ: Mapping[str, str]) -> int:
    """Run the command that the arguments (those of the process if None) name, and return the exit code.

    A mistake is one line on standard error, and never a traceback.
    """
    try:
        parsed = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
        run: Command = parsed.run
        code = run(parsed, environ)
        sys.stdout.flush()  # what is left in the buffer fails here, not when the interpreter ends
    except BrokenPipeError:  # whoever read the output, say `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_BROKEN_PIPE
    except SettingsError as error:
        for mistake in error.mistakes:
            print(f"{parser.prog}: {mistake}", file=sys.stderr)  # noqa: T201  # a command's own output
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    return code
