"""What a person reads: what happens, each line with its time, in 80 columns."""

import os
import textwrap
import time
from collections.abc import Mapping
from typing import TextIO

from iam4kube.sandbox.demo.expectations import Unexpected

_WIDTH = 80
_INDENT = " " * 6  # as wide as a time and what follows it; the longest ARN just fits behind it
_BOLD, _GREEN, _RED, _PLAIN = "\033[1m", "\033[32m", "\033[31m", "\033[0m"


class Screen:
    """Writes to `output`; in colour if that is a terminal and NO_COLOR is not set. Time starts with it."""

    def __init__(self, output: TextIO, environ: Mapping[str, str] = os.environ) -> None:
        self._output = output
        self._coloured = output.isatty() and not environ.get("NO_COLOR")
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the screen was made."""
        return time.monotonic() - self._began

    def introduce(self, text: str) -> None:
        """A paragraph without a time."""
        self._write(textwrap.fill(text, _WIDTH))
        self._write("")

    def title(self, text: str) -> None:
        """The heading of a scene."""
        self._write("")
        self._write(self._in(_BOLD, text))

    def say(self, text: str, *details: str) -> None:
        """What has just happened; each of `details` begins a line of its own."""
        self._write(_filled(text, first=f"{self.seconds:4.1f}  "))
        for detail in details:
            self._write(_filled(detail, first=_INDENT))

    def held(self) -> None:
        """The scene showed what it is there to show."""
        self._write(_INDENT + self._in(_GREEN, "held"))

    def failed(self, problem: Unexpected) -> None:
        """The scene showed something else."""
        self._write(_INDENT + self._in(_RED, "FAILED"))
        self._write(_filled(f"expected: {problem.expected}", first=_INDENT))
        self._write(_filled(f"seen:     {problem.seen}", first=_INDENT))

    def verdict(self, text: str, *, good: bool) -> None:
        """What it all comes to."""
        self._write("")
        self._write(self._in(_GREEN if good else _RED, textwrap.fill(text, _WIDTH)))

    def verbatim(self, text: str) -> None:
        """Text as it is, to be copied."""
        self._write(text)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._coloured else text

    def _write(self, line: str) -> None:
        self._output.write(line + "\n")
        self._output.flush()


def _filled(text: str, *, first: str) -> str:
    """Text under its first line's beginning; ARNs and addresses are not broken."""
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
