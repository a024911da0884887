"""Listeners for operators, bounded as the one for pods: only a NetworkPolicy keeps pods away from these ports.

Without bounds, connections that never say anything would use up the process's file descriptors, and heads of 48 MB
each its memory.
"""

from prometheus_client import CollectorRegistry

from iam4kube.metadata.guard import ConnectionGuard
from iam4kube.metadata.limits import ConnectionLimits
from iam4kube.metadata.metrics import ConnectionMetrics
from iam4kube.metadata.protocol import guarded_protocol
from iam4kube.metadata.requests import Request
from iam4kube.runtime.asgi import Application
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.parsing import ListenAddress

_LIMITS = ConnectionLimits(connections=250, connections_per_source=50, connections_for_newcomers=250)


def operators_listener(application: Application, address: ListenAddress, *, name: str, setting: str) -> Listener:
    """A listener for people, probes and Prometheus. `setting` is the flag that a mistake about the address names."""
    metrics = ConnectionMetrics(CollectorRegistry())  # counted for pods only
    guard = ConnectionGuard(respond=_never_at_once, limits=_LIMITS, metrics=metrics)
    return Listener(application, address, name=name, setting=setting, protocol=guarded_protocol(guard))


def _never_at_once(_request: Request) -> None:
    """Every request is the application's."""
