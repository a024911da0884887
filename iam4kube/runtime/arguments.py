"""The command line as people meet it: `--help` that can be read, and mistakes as exceptions.

argparse prints a usage line of every flag before each mistake, and exits by itself: with forty settings the
mistake is lost in it, and with several mistakes only the first is seen. Here mistakes are raised.
"""

import argparse
import difflib
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from iam4kube.runtime.mistakes import SettingsError

_WIDEST = 100


class SettingsHelp(argparse.HelpFormatter):
    """Each flag on a line of its own, its help below, with the line breaks that the help has."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, _WIDEST)
        super().__init__(prog, max_help_position=6, width=width)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return [wrapped for line in text.splitlines() for wrapped in textwrap.wrap(line, width, break_on_hyphens=False)]

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Paragraphs are filled; indented ones stay as they are: they are commands to copy."""
        fill = super()._fill_text
        paragraphs = text.split("\n\n")
        return "\n\n".join(each if each.startswith(" ") else fill(each, width, indent) for each in paragraphs)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """`--flag VALUE`, or `--flag[=VALUE]` where the value may be left out."""
        if action.nargs == "?" and action.option_strings:
            return f"{action.option_strings[0]}[={action.metavar}]"
        return super()._format_action_invocation(action)


class SettingsParser(argparse.ArgumentParser):
    """A parser whose mistakes are `SettingsError`s. Its subcommands are parsers of this class too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", SettingsHelp)
        # An abbreviated flag would change its meaning when a later version adds a longer one.
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def parse_args(  # type: ignore[override]  # there is no namespace of others to fill here
        self, args: Sequence[str] | None = None
    ) -> argparse.Namespace:
        """As argparse, but unknown flags are named one by one, with the flag that was probably meant."""
        parsed, unknown = self.parse_known_args(args)
        if unknown:
            # What follows an unknown flag is probably its value: name it only when there is nothing else.
            flags = [argument for argument in unknown if argument.startswith("-")]
            raise SettingsError(self._unknown(argument) for argument in flags or unknown)
        return parsed

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and exiting."""
        raise SettingsError([f"{message} (see {self.prog} --help)"])

    def _unknown(self, argument: str) -> str:
        flag = argument.partition("=")[0]
        close = difflib.get_close_matches(flag, list(_flags(self)), n=1)
        remedy = f"did you mean {close[0]}?" if close else f"see {self.prog} --help"
        return f"{flag!r} is not known; {remedy}"


def _flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    """All flags of a parser and of its subcommands."""
    for action in parser._actions:  # noqa: SLF001  # argparse offers no other way to list them
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # likewise
            for subparser in action.choices.values():
                yield from _flags(subparser)
