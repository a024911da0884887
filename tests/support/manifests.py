"""The manifests as an apply sees them: rendered by the real kubectl, one object after the other."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Manifest: TypeAlias = dict[str, Any]

MANIFESTS = Path(__file__).parents[2] / "manifests"
BASE = "base"
OVERLAYS = tuple(f"overlays/{folder.name}" for folder in sorted((MANIFESTS / "overlays").iterdir()))
POLICIES = tuple(f"policies/{folder.name}" for folder in sorted((MANIFESTS / "policies").iterdir()))
EVERYTHING = "everything"
"""The base with all components, as a kustomization of somebody's own."""
WORKLOADS = ("Deployment", "DaemonSet", "Job")


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """What kubectl prints. Raises `AssertionError` with what it complains of."""
    program = Path(os.environ["KUBEBUILDER_ASSETS"]) / "kubectl"
    with tempfile.TemporaryDirectory() as home:  # without anybody's kubeconfig and cache
        done = subprocess.run(
            [program, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env={"HOME": home},
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def rendered_text(name: str) -> str:
    """A folder of the manifests, or `EVERYTHING`, as YAML."""
    return kubectl("kustomize", str(MANIFESTS / name)) if name != EVERYTHING else _everything()


def rendered(name: str) -> list[Manifest]:
    """The same, object by object."""
    return list(yaml.safe_load_all(rendered_text(name)))


def find(manifests: Sequence[Manifest], kind: str, name: str, *, namespace: str | None = None) -> Manifest:
    """The one object of this kind and name."""
    [found] = [
        each
        for each in manifests
        if (each["kind"], each["metadata"]["name"]) == (kind, name)
        and namespace in (None, each["metadata"].get("namespace"))
    ]
    return found


def pod_templates(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Namespace and pod template of each workload."""
    for each in manifests:
        if each["kind"] in WORKLOADS:
            yield each["metadata"]["namespace"], each["spec"]["template"]


def pod_spec(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The specification of a workload's pods."""
    spec: Manifest = find(manifests, kind, name)["spec"]["template"]["spec"]
    return spec


def container(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The one container of a workload's pods."""
    [only] = pod_spec(manifests, kind, name)["containers"]
    found: Manifest = only
    return found


def _everything() -> str:
    """Kustomize takes no kustomization from standard input, so the folder is made beside the others for a moment."""
    components = [f"../components/{folder.name}" for folder in sorted((MANIFESTS / "components").iterdir())]
    with tempfile.TemporaryDirectory(dir=MANIFESTS, prefix=".everything-") as folder:
        (Path(folder) / "kustomization.yaml").write_text(
            yaml.safe_dump({"resources": ["../base"], "components": components})
        )
        return kubectl("kustomize", folder)
