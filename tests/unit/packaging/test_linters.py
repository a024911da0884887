"""Dockerfiles, workflows and scripts, judged by their own tools; each tool is seen to find a mistake."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.tools

ROOT = Path(__file__).parents[3]
DOCKERFILES = sorted(ROOT.glob("Dockerfile.*"))
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*"))
SCRIPTS = [
    path
    for folder in (".ci", "tools", "tests/tools", "tests/controlplane")
    for path in sorted(ROOT.glob(f"{folder}/*"))
    if path.is_file() and path.read_bytes().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))
]


def found_by(tool: str, *files: Path) -> str:
    """What a tool says of some files."""
    program = Path(os.environ["TEST_TOOLS"]) / tool
    done = subprocess.run(
        [program if program.exists() else tool, *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert bool(done.returncode) == bool(done.stdout), done
    return done.stdout


def test_nothing_is_said_of_dockerfiles() -> None:
    """By the rules of `docker build --check`, those that are on trial included."""
    assert len(DOCKERFILES) == 2
    assert found_by("lint-dockerfile", *DOCKERFILES) == ""


def test_a_mistake_in_a_dockerfile_is_found(tmp_path: Path) -> None:
    """A command for a shell, which would not get signals; and what is no Dockerfile."""
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM debian\nCMD serve\n")
    assert "JSONArgsRecommended" in found_by("lint-dockerfile", wrong)
    wrong.write_text("FROM debian\nRUNN true\n")
    assert "unknown instruction" in found_by("lint-dockerfile", wrong)


def test_nothing_is_said_of_workflows() -> None:
    """actionlint, which has shellcheck read the steps."""
    assert len(WORKFLOWS) == 2
    assert found_by("actionlint", *WORKFLOWS) == ""


def test_a_mistake_in_a_workflow_is_found(tmp_path: Path) -> None:
    """A job that waits for one that is not there."""
    wrong = tmp_path / "wrong.yml"
    wrong.write_text((ROOT / ".github/workflows/release.yml").read_text().replace("needs: check", "needs: checks"))
    assert "checks" in found_by("actionlint", wrong)


def test_nothing_is_said_of_scripts() -> None:
    """shellcheck, on all that a build or a release runs."""
    assert {path.name for path in SCRIPTS} >= {"run", "build", "install-program", "build-image", "environment"}
    assert found_by("shellcheck", *SCRIPTS) == ""
