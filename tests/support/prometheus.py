"""Prometheus' own programs (tests/tools): what they say of rule files, and what an expression asks for."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec


@dataclass(frozen=True)
class Matcher:
    """One condition between the braces of a selector."""

    label: str
    operator: Literal["=", "!=", "=~", "!~"]
    value: str


@dataclass(frozen=True)
class Selector:
    """One metric in an expression."""

    metric: str
    matchers: tuple[Matcher, ...]
    grouped_by: frozenset[str]
    """Labels that the expression around it groups or joins by."""

    @property
    def labels(self) -> frozenset[str]:
        """All that its series have to have."""
        return self.grouped_by | {matcher.label for matcher in self.matchers}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it, whatever it says."""
    return _run("promtool", *arguments)


def assert_promtool_agrees(*arguments: str | Path) -> None:
    """Run it and fail with what it has against it."""
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def selectors(expressions: Sequence[str]) -> list[list[Selector]]:
    """Of each expression. Raises `AssertionError` if one is not PromQL."""
    done = _run("list-selectors", stdin=json.dumps(expressions))
    assert done.returncode == 0, done.stderr
    return [[_selector(**each) for each in found] for found in json.loads(done.stdout)]


def _selector(metric: str, matchers: list[dict[str, str]], labels: list[str]) -> Selector:
    return Selector(metric, msgspec.convert(matchers, tuple[Matcher, ...]), frozenset(labels))


def _run(program: str, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    path = Path(os.environ["TEST_TOOLS"]) / program
    return subprocess.run(
        [path, *arguments], input=stdin, capture_output=True, text=True, env={}, timeout=60, check=False
    )
