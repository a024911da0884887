"""A pod's status as the kubelet writes it: phase, conditions, addresses, containers."""

from collections.abc import Sequence

from tests.support.node_agent_api import Object
from tests.support.node_agent_container import Container, timestamp
from tests.support.node_lab import LabHost


class PodStatus:
    """The status of one pod. It remembers since when each condition is as it is."""

    def __init__(self) -> None:
        self._conditions: dict[str, Object] = {}

    def document(self, containers: Sequence[Container], *, ends: bool, node: LabHost, host: LabHost | None) -> Object:
        """The status now. `ends`: who has ended is not restarted; `host` is None before the pod has a network."""
        ready = all(container.ready for container in containers)
        conditions = {"Initialized": True, "ContainersReady": ready, "Ready": ready}
        status: Object = {
            "phase": "Pending" if host is None else _phase(containers, ends=ends),
            "conditions": [self._condition(name, str(holds)) for name, holds in conditions.items()],
            "containerStatuses": [container.status() for container in containers],
            "hostIP": node.ipv4,
        }
        if host is not None:
            addresses = list(map(str, host.host.addresses))
            status |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
        return status

    def _condition(self, name: str, status: str) -> Object:
        """With the time since which it is so: a Deployment's minReadySeconds count from it."""
        known = self._conditions.get(name)
        if known is None or known["status"] != status:
            known = self._conditions[name] = {"type": name, "status": status, "lastTransitionTime": timestamp()}
        return known


def _phase(containers: Sequence[Container], *, ends: bool) -> str:
    codes = [container.exit_code for container in containers]
    if not ends or None in codes:
        return "Running"
    return "Failed" if any(codes) else "Succeeded"
