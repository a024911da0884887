"""A Kubernetes API server in memory, on a real loopback socket: what list-and-watch clients can see of one.

From the bottom up: `resources` (which types there are), `errors` (Status objects), `store` (revisions, history,
compaction: etcd's part), `selectors` and `patches` (pure), `registry` (what an API server does to an object
before it stores it), `requests` (paths and queries), `watches` (streams), `faults`, `app` (HTTP), `api` (the
class that tests and the demo use), `objects` (realistic pods, ServiceAccounts and nodes), `networking`
(Services and EndpointSlices).

What nobody here asks for is left out: schemas and their validation, admission, RBAC (a fault can forbid),
server-side apply, protobuf, discovery.
"""

from iam4kube.sandbox.kubernetes.api import KubernetesApi

__all__ = ["KubernetesApi"]
