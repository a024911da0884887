"""iam4kube: gives every pod on a Kubernetes cluster the AWS credentials of its own ServiceAccount.

The packages, from the top down (each imports only from those below it; `make check` proves it):

- `cli`: commands and their exit codes. No behaviour of its own.
- `server`: one replica, assembled: settings, wiring, readiness, ordered start and stop.
- `sandbox`: a world in one process (a Kubernetes API and an STS) for the demo and the tests.
- `metadata`: how pods ask: the emulated EC2 metadata API.
- `admin`: what operators see: health, metrics, debug.
- `identity`: who is asking: source address to Pod to ServiceAccount to role, and the waits.
- `credentials`: what they get: fetched from STS ahead of time, kept fresh, isolated.
- `roles`: role ARNs, external IDs, session names: what identity and credentials both speak of.
- `kube`: watching Kubernetes, and events. Shared with `ip2service`.
- `runtime`: one process's life: settings, logs, metrics, start and stop. Shared with `ip2service`.
"""

from importlib.metadata import version as _version

__version__ = _version("iam4kube")
