"""A release is of one version, and its workflow runs nothing that can change under it."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from iam4kube import __version__

ROOT = Path(__file__).parents[3]
CHANGELOG = (
    "# Changelog\n\n## [{version}] - 2026-12-01\n\n### Added\n\n- A thing.\n\n## [0.0.1] - 2026-11-01\n\n- Older.\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that is a release of 1.2.3."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/release-notes", tmp_path / "tools")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG.format(version="1.2.3"))
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/kustomization.yaml").write_text("images:\n  - name: x\n    newTag: 1.2.3\n")
    return tmp_path


def release_notes(project: Path, *arguments: str) -> tuple[int, str, str]:
    """Run tools/release-notes there: its exit code, output and errors."""
    done = subprocess.run(
        [project / "tools/release-notes", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_notes_are_the_changelogs_top_entry(project: Path) -> None:
    """Without its heading, and without older ones."""
    assert release_notes(project, "v1.2.3") == (0, "### Added\n\n- A thing.\n", "")
    assert release_notes(project)[0] == 0


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("pyproject.toml", '[project]\nversion = "1.2.4"\n', "the tag is v1.2.3"),
        ("CHANGELOG.md", CHANGELOG.format(version="1.2.2"), "begins with [1.2.2]"),
        ("CHANGELOG.md", "## [Unreleased]\n\n- New.\n\n" + CHANGELOG.format(version="1.2.3"), "begins with [Unrel"),
        ("CHANGELOG.md", "## [1.2.3] - 2026-12-01\n\n## [1.2.2] - 2026-11-01\n\n- x\n", "begins with [1.2.3]"),
        ("manifests/kustomization.yaml", "      app.kubernetes.io/version: 1.2.2\n", "kustomization.yaml says 1.2.2"),
    ],
)
def test_whatever_differs_keeps_it_from_being_a_release(project: Path, file: str, text: str, said: str) -> None:
    """One line that names both, and no notes."""
    (project / file).write_text(text)
    code, notes, errors = release_notes(project, "v1.2.3")
    assert (code, notes) == (1, "")
    assert said in errors


def test_the_manifests_name_the_version_of_this_code() -> None:
    """The one place is pyproject.toml: what is installed says the same, and the manifests' tags do."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
    _, _, errors = release_notes(ROOT)
    assert [line for line in errors.splitlines() if not line.startswith("CHANGELOG.md begins with [Unreleased]")] == []


def test_actions_are_pinned_by_commit_and_each_to_one() -> None:
    """A tag can be moved; what the comment calls it is for whoever brings it up to date."""
    pins: dict[str, str] = {}
    for workflow in sorted(ROOT.glob(".github/workflows/*.yml")):
        for used in re.findall(r"uses: (.*)", workflow.read_text()):
            if not used.startswith("./"):
                pinned = re.fullmatch(r"([\w-]+/[\w-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", used)
                assert pinned, used
                assert pins.setdefault(pinned[1], pinned[2]) == pinned[2]
    assert len(pins) >= 3


def test_uv_is_its_own_build_backend() -> None:
    """Uv builds by the backend within it when that is what is asked for: nothing unlocked is fetched for a build."""
    version = re.search(r"^uv==(\S+)", (ROOT / "tools/uv.txt").read_text(), re.MULTILINE)
    [backend] = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert version
    assert Requirement(backend).name == "uv_build"
    assert version[1] in Requirement(backend).specifier
