"""The commands of a documentation page, as a reader finds them: fenced blocks, and after `sh` what each is for.

`cluster`: kubectl and the shell, on the reader's machine. `node`: as root on each node. `aws`: calls AWS. `images`:
builds images. Nothing: for other occasions than the page's first reading.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
USES = ("cluster", "node", "aws", "images", "")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*) ?(?P<use>.*)$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    """Of its first line, counted from 1."""
    section: str
    """The heading of the second rank above it."""
    language: str
    use: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """All blocks of a page, in its order."""
    return list(_blocks(page.name, page.read_text().splitlines()))


def _blocks(page: str, lines: Sequence[str]) -> Iterator[Block]:
    section, opened, began = "", None, 0
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened, began = fence, number
            elif line.startswith("## "):
                section = line.removeprefix("## ")
        elif fence and not fence["language"]:
            text = dedent("\n".join(lines[began : number - 1])) + "\n"
            yield Block(
                page=page,
                line=began + 1,
                section=section,
                language=opened["language"],
                use=opened["use"],
                text=text,
            )
            opened = None
    assert opened is None, f"{page}:{began}: the block does not end"


def simple_commands(text: str) -> Iterator[list[str]]:
    """The commands of a block in words, unexpanded: what begins a line, and what follows in pipes and substitutions.

    Here-documents are left out, and so are shell keywords and assignments.
    """
    text = re.sub(r"<<'?(\w+)'?\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL).replace("\\\n", " ")
    for match in re.finditer(r"\$\(([^()]+)\)", text):
        yield from simple_commands(match[1])
    for line in re.sub(r"\$\([^()]+\)", "SUBSTITUTED", text).splitlines():
        for part in _parts(shlex.shlex(line, posix=True, punctuation_chars="|;&<>")):
            while part and (part[0] in _KEYWORDS or re.match(r"\w+=", part[0])):
                part.pop(0)
            if part and part[0] != "for":
                yield part


_KEYWORDS = ("do", "done", "then", "if", "fi", "while", "until", "!", "export", "umask")


def _parts(lexer: shlex.shlex) -> Iterator[list[str]]:
    lexer.whitespace_split, lexer.commenters = True, "#"
    part: list[str] = []
    for word in lexer:
        if word in ("|", ";", "&&", "||"):
            yield part
            part = []
        else:
            part.append(word)
    yield part


@dataclass(frozen=True, kw_only=True)
class AwsCommand:
    """One call of the AWS CLI."""

    service: str
    operation: str
    options: Mapping[str, str]
    """By their names without dashes. An option with several values has them in one text."""


def aws_commands(text: str, environment: Mapping[str, str] | None = None) -> Iterator[AwsCommand]:
    """Those of a block, with variables replaced where `environment` knows them."""
    for program, *words in simple_commands(text):
        if program == "aws":
            service, operation, *rest = (_expanded(word, environment or {}) for word in words)
            yield AwsCommand(service=service, operation=operation, options=_options(rest))


def _options(words: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word.removeprefix("--")
            options[name] = ""
        else:
            options[name] = f"{options[name]} {word}".strip()
    return options


def _expanded(word: str, environment: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: environment.get(match[1], match[0]), word)
