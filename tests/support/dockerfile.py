"""A Dockerfile's stages and instructions, as far as this project's use the language; anything else is refused.

BuildKit judges the files themselves (tests/tools/lint-dockerfile). This reads them for `image_builder`, which carries
them out, so that what is tested is what is written there.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Self

_KNOWN = frozenset({"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "RUN", "USER", "WORKDIR"})
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True)
class Instruction:
    """One instruction: `COPY --from=build /a /b` has the flag `from=build` and the text `/a /b`."""

    name: str
    flags: tuple[str, ...]
    text: str

    @property
    def words(self) -> list[str]:
        """The text as a shell would split it, or as the JSON list that it is."""
        if self.text.startswith("["):
            words: list[str] = json.loads(self.text)
            return words
        return shlex.split(self.text)

    @property
    def pairs(self) -> dict[str, str]:
        """The text as NAME=VALUE ... ; a name alone has the value ""."""
        return {name: value for name, _, value in (word.partition("=") for word in self.words)}


@dataclass(frozen=True)
class Stage:
    """What stands between two FROMs. `base` is an image, or the name of an earlier stage."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def of(self, name: str) -> list[Instruction]:
        """Its instructions of one kind, in order."""
        return [instruction for instruction in self.instructions if instruction.name == name]


def read_dockerfile(path: Path) -> list[Stage]:
    """The stages in order; the last one is the image. Raises `NotImplementedError` for what is not known here."""
    stages: list[Stage] = []
    arguments: dict[str, str] = {}
    for instruction in _instructions(path.read_text()):
        if instruction.name == "FROM":
            base, *named = _expanded(instruction.text, arguments).split()
            stages.append(Stage(named[1] if named else "", base, ()))
        elif not stages and instruction.name == "ARG":
            arguments |= instruction.pairs
        elif stages and instruction.name in _KNOWN:
            last = stages.pop()
            stages.append(Stage(last.name, last.base, (*last.instructions, instruction)))
        else:
            raise NotImplementedError(f"{path}: {instruction}")
    return stages


def _instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [_instruction(line) for line in "\n".join(lines).replace("\\\n", " ").splitlines()]


def _instruction(line: str) -> Instruction:
    name, _, rest = line.partition(" ")
    flags = []
    while (rest := rest.lstrip()).startswith("--"):
        flag, _, rest = rest.partition(" ")
        flags.append(flag.removeprefix("--"))
    return Instruction(name, tuple(flags), rest.strip())


def _expanded(text: str, arguments: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: arguments[match[1]], text)


class Ignored:
    """What .dockerignore keeps out of a build: the last pattern that matches a path, or a folder above it, decides."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [(pattern.removeprefix("!"), not pattern.startswith("!")) for pattern in patterns]

    @classmethod
    def read(cls, path: Path) -> Self:
        """By the file's lines."""
        lines = (line.strip() for line in path.read_text().splitlines())
        return cls([line for line in lines if line and not line.startswith("#")])

    def __contains__(self, path: Path) -> bool:
        candidates = [path, *list(path.parents)[:-1]]
        verdict = False
        for pattern, ignores in self._patterns:
            if any(_matches(candidate, pattern) for candidate in candidates):
                verdict = ignores
        return verdict


def _matches(path: Path, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch(path.name, pattern.removeprefix("**/"))
    return len(path.parts) == pattern.count("/") + 1 and fnmatch(str(path), pattern)
