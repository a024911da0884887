"""What the API server writes down about who asked for what, and how it decided."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

# Blocking: a request is in the log before its answer is sent. A watch is there as soon as it begins.
_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: [system:serviceaccounts]
  - level: None
"""


class Asked(NamedTuple):
    """What RBAC judges of a request."""

    verb: str
    group: str
    resource: str
    """With its subresource, if any, as in RBAC: `nodes/status`."""
    namespace: str
    name: str


@dataclass(frozen=True)
class AuditLog:
    """The log of one API server, in `folder`. It holds requests of ServiceAccounts only."""

    folder: Path

    def flags(self) -> Sequence[str]:
        """What makes the API server write it."""
        policy = self.folder / "audit-policy.yaml"
        policy.write_text(_POLICY)
        return (f"--audit-policy-file={policy}", f"--audit-log-path={self._path}", "--audit-log-mode=blocking")

    @property
    def size(self) -> int:
        """How far it has got: what comes from now on is `since` this."""
        return self._path.stat().st_size

    def asked(self, account: str, *, since: int = 0) -> frozenset[Asked]:
        """Everything that a ServiceAccount (`namespace:name`) has asked of resources."""
        return frozenset(_asked(entry) for entry in self._entries(account, since) if "objectRef" in entry)

    def refused(self, account: str, *, since: int = 0) -> list[str]:
        """What it was refused, with the reason. Paths without a resource, too."""
        return [
            f"{entry['verb']} {entry['requestURI']}: {entry['responseStatus'].get('message', '')}"
            for entry in self._entries(account, since)
            if entry.get("responseStatus", {}).get("code") == 403
        ]

    @property
    def _path(self) -> Path:
        return self.folder / "audit.log"

    def _entries(self, account: str, since: int) -> Iterator[dict[str, Any]]:
        with self._path.open("rb") as lines:
            lines.seek(since)
            for line in lines:
                entry = json.loads(line)
                if entry["user"]["username"] == f"system:serviceaccount:{account}":
                    yield entry


def _asked(entry: dict[str, Any]) -> Asked:
    about = entry["objectRef"]
    resource = "/".join(filter(None, [about["resource"], about.get("subresource")]))
    return Asked(entry["verb"], about.get("apiGroup", ""), resource, about.get("namespace", ""), about.get("name", ""))
