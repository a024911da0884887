"""The settings of the way to the API server, the same for both programs. Imports no client: `--help` is to be quick."""

from dataclasses import dataclass
from pathlib import Path

from iam4kube.runtime.parsing import future_file, text
from iam4kube.runtime.settings import setting


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Where the cluster is."""

    kubeconfig: Path | None = setting(
        None,
        parse=future_file,
        metavar="FILE",
        help="A kubeconfig; without one the pod's own ServiceAccount inside a cluster, elsewhere what kubectl uses.",
    )
    context: str | None = setting(
        None, parse=text, metavar="NAME", help="The kubeconfig's context, if not its current one."
    )
