"""A real API server of its own, in which the manifests are installed as a person installs them.

Not the one that other tests share: policies of the whole cluster would judge what those do.
"""

import json
import os
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.audit import AuditLog
from tests.support.commands import Ended
from tests.support.controlplane import ControlPlane
from tests.support.manifest_permissions import Grant
from tests.support.manifests import BASE, MANIFESTS, container, kubectl, rendered
from tests.support.world import run_command

TOKEN_KEYS = "/api/v1/namespaces/iam4kube/secrets/iam4kube-token-keys"
_SECONDS = 30.0  # a second on an idle machine
MERGE = "application/merge-patch+json"


@dataclass
class Refused(Exception):
    """The API server refused a request. The text is its message."""

    code: int
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True)
class InstalledCluster:
    """An API server, its audit log, and a folder for kubeconfigs."""

    control_plane: ControlPlane
    audit: AuditLog
    folder: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints, as the administrator. Raises `AssertionError` with what it complains of."""
        config = self.control_plane.kubeconfig(self.folder / "admin.kubeconfig")
        return kubectl(f"--kubeconfig={config}", *arguments, stdin=stdin)

    def install(self, name: str) -> str:
        """Apply a folder of the manifests, as the documentation does. Returns what kubectl prints."""
        return self.kubectl("apply", "--server-side", "-k", str(MANIFESTS / name))

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Ask as the administrator, or with another `token`. Raises `Refused`. Options are the control plane's."""
        try:
            return self.control_plane.request(method, path, body, **options)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, json.loads(error.read())["message"]) from None

    def patch(self, path: str, changes: Any, **options: Any) -> Any:
        """Change parts of an object, likewise."""
        return self.ask("PATCH", path, changes, content_type=MERGE, **options)

    def allows(self, account: str, grant: Grant) -> bool:
        """Whether a ServiceAccount (`namespace:name`) may do this now."""
        attributes = {
            "group": grant.group,
            "resource": grant.resource,
            "verb": grant.verb,
            "namespace": grant.namespace,
        }
        if grant.names:
            attributes["name"] = grant.names[0]
        review = {"spec": {"user": f"system:serviceaccount:{account}", "resourceAttributes": attributes}}
        answer = self.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until something is true of the API server, which hears of policies and roles by watches of its own."""
        deadline = time.monotonic() + _SECONDS
        while not holds():
            assert time.monotonic() < deadline, "it does not come true"
            time.sleep(0.05)

    def token_of_pod(self, namespace: str, pod: str, account: str) -> str:
        """The token that the kubelet gets for a pod: the API server signs it, and puts the pod's node into it."""
        bound = {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        answer = self.ask(
            "POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": bound}
        )
        token: str = answer["status"]["token"]
        return token

    def kubeconfig(self, name: str, token: str) -> Path:
        """A kubeconfig for whoever has this token."""
        return self.control_plane.kubeconfig(self.folder / f"{name}.kubeconfig", token=token)


async def run_token_key_job(cluster: InstalledCluster) -> Ended:
    """What the container of the token key's Job does."""
    token = cluster.control_plane.token("iam4kube", "iam4kube-token-keys", lifetime=600)
    config = cluster.kubeconfig("token-keys", token)
    _, *arguments = container(rendered(BASE), "Job", "iam4kube-token-keys")["command"]
    environment = {"PATH": os.environ["PATH"], "IAM4KUBE_KUBECONFIG": str(config)}
    return await run_command(*arguments, environment=environment)


@contextmanager
def running_cluster(folder: Path) -> Iterator[InstalledCluster]:
    """A new one, with the definitions of the prometheus-operator's kinds and nothing installed."""
    audit = AuditLog(folder)
    with ControlPlane(Path(os.environ["KUBEBUILDER_ASSETS"]), folder, flags=audit.flags()) as control_plane:
        cluster = InstalledCluster(control_plane, audit, folder)
        cluster.kubectl("apply", "--server-side", "-f", str(_monitoring_assets() / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        yield cluster


def _monitoring_assets() -> Path:
    build = Path(__file__).parents[1] / "monitoring" / "build"
    done = subprocess.run([build], capture_output=True, text=True, check=True, timeout=300)
    return Path(done.stdout.strip())
