"""The replica's state for `/debug/state`: numbers of every part. No secrets, and its size is always the same."""

from iam4kube import __version__
from iam4kube.credentials.prefetcher import Prefetcher
from iam4kube.identity.directory import Directory
from iam4kube.runtime.waits import Waits
from iam4kube.server.metadata_api import MetadataApi
from iam4kube.server.readiness import Readiness
from iam4kube.server.shutdown import Drain


class DebugState:
    """Looks at every part, owns none."""

    def __init__(
        self,
        *,
        readiness: Readiness,
        directory: Directory,
        prefetcher: Prefetcher,
        metadata: MetadataApi,
        waits: Waits,
        drain: Drain,
    ) -> None:
        self._readiness = readiness
        self._directory = directory
        self._prefetcher = prefetcher
        self._metadata = metadata
        self._waits = waits
        self._drain = drain

    def show(self) -> dict[str, object]:
        """The state now."""
        return {
            "version": __version__,
            "draining": self._drain.under_way,
            "readiness": self._readiness.report(),
            "identity": {
                "synced": self._directory.synced,
                "nodes": len(self._directory.nodes),
                "service_accounts": len(self._directory.accounts),
                "addresses": len(self._directory.pods),
                "api_is_down": self._directory.confirmations.api_is_down,
            },
            "credentials": self._prefetcher.statistics(),
            "metadata": {
                "open_connections": self._metadata.listener.open_connections,
                "running_requests": self._metadata.listener.running_requests,
                "waiting_requests": len(self._metadata.waiting),
                "waits": len(self._waits),
            },
        }
