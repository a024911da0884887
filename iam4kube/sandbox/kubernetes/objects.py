"""Realistic objects: what a scheduler, a kubelet and a cloud's controller have written into them.

A running pod with one container takes about 3 kB as JSON, as a small one does in a real cluster before its
managedFields. Addresses, phases and conditions agree with each other; everything that matters to identity is an
argument.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from iam4kube.sandbox.kubernetes.resources import Object

ROLE_ARN = "iam.amazonaws.com/roleArn"
EXTERNAL_ID = "iam.amazonaws.com/roleExternalId"

_STARTED = "2026-01-02T03:04:05Z"
_POD_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def pod(
    name: str,
    *,
    namespace: str = "default",
    service_account: str = "default",
    addresses: Sequence[str] = (),
    node: str = "node-a",
    phase: str | None = None,
    host_network: bool = False,
    labels: Mapping[str, str] | None = None,
    grace: int = 30,
) -> Object:
    """A pod on `node` (empty: not scheduled yet); `grace` is its termination grace period in seconds.

    `phase` is Running with an address and Pending without one, unless it is given.
    """
    phase = phase or ("Running" if addresses else "Pending")
    image = f"registry.example/{name}:1.4.2"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/name": name, "pod-template-hash": _digest(name)[:10], **(labels or {})},
            "annotations": {"kubernetes.io/config.seen": _STARTED, "kubernetes.io/config.source": "api"},
        },
        "spec": {
            "serviceAccountName": service_account,
            "serviceAccount": service_account,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": grace,
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "enableServiceLinks": True,
            "preemptionPolicy": "PreemptLowerPriority",
            "priority": 0,
            "securityContext": {},
            "containers": [_container(image)],
            "volumes": [_token_volume()],
            "tolerations": [_toleration("not-ready"), _toleration("unreachable")],
            **({"nodeName": node} if node else {}),
            **({"hostNetwork": True} if host_network else {}),
        },
        "status": pod_status(image=image, addresses=addresses, phase=phase),
    }


def pod_status(*, image: str, addresses: Sequence[str], phase: str, restarts: int = 0) -> Object:
    """What the kubelet writes: all of it, consistent with the phase."""
    running = phase == "Running"
    status: Object = {
        "phase": phase,
        "qosClass": "Burstable",
        "conditions": [
            {
                "type": condition,
                "status": "True" if running or condition == "PodScheduled" else "False",
                "lastProbeTime": None,
                "lastTransitionTime": _STARTED,
            }
            for condition in _POD_CONDITIONS
        ],
        "containerStatuses": [_container_status(image, phase=phase, restarts=restarts)],
    }
    if addresses:
        status |= {
            "podIP": addresses[0],
            "podIPs": [{"ip": address} for address in addresses],
            "hostIP": "10.0.0.1",
            "hostIPs": [{"ip": "10.0.0.1"}],
            "startTime": _STARTED,
        }
    return status


def service_account(
    name: str,
    *,
    namespace: str = "default",
    role_arn: str | None = None,
    external_id: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """A ServiceAccount, with the role's annotations if any."""
    roles = {key: value for key, value in ((ROLE_ARN, role_arn), (EXTERNAL_ID, external_id)) if value is not None}
    metadata: Object = {"name": name, "namespace": namespace}
    if roles or annotations:
        metadata["annotations"] = {**(annotations or {}), **roles}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def node(
    name: str,
    *,
    addresses: Sequence[str] = ("10.0.0.1",),
    boot_id: str | None = None,
    region: str | None = "eu-central-1",
    zone: str | None = "eu-central-1a",
    ready: bool = True,
    taints: Sequence[Mapping[str, str]] = (),
) -> Object:
    """A node with internal `addresses`; a changed `boot_id` is a reboot."""
    labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": "m7i.large",
                **{label: value for label, value in labels.items() if value is not None},
            },
        },
        "spec": {
            "providerID": f"aws:///{zone or 'nowhere'}/i-{_digest(name)[:17]}",
            **({"taints": [dict(taint) for taint in taints]} if taints else {}),
        },
        "status": {
            "addresses": [
                *({"type": "InternalIP", "address": address} for address in addresses),
                {"type": "Hostname", "address": name},
            ],
            "capacity": {"cpu": "2", "memory": "8024148Ki", "pods": "110"},
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if ready else "Unknown",
                    "reason": "KubeletReady" if ready else "NodeStatusUnknown",
                    "lastHeartbeatTime": _STARTED,
                    "lastTransitionTime": _STARTED,
                }
            ],
            "nodeInfo": {**_NODE_INFO, "bootID": boot_id or _as_uuid(name)},
        },
    }


def event(*, regarding: Object, reason: str, message: str, event_type: str = "Normal") -> Object:
    """A core/v1 event about a stored object, as a recorder first sends it."""
    metadata = regarding["metadata"]
    namespace = metadata.get("namespace", "default")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{_digest(reason, message)[:16]}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "name": metadata["name"],
            "namespace": namespace,
            "uid": metadata["uid"],
        },
        "reason": reason,
        "message": message,
        "type": event_type,
        "count": 1,
        "firstTimestamp": _STARTED,
        "lastTimestamp": _STARTED,
        "source": {"component": "iam4kube"},
    }


_NODE_INFO = {
    "architecture": "amd64",
    "containerRuntimeVersion": "containerd://2.1.4",
    "kernelVersion": "6.12.40",
    "kubeProxyVersion": "v1.34.2",
    "kubeletVersion": "v1.34.2",
    "machineID": "ec2a1b5c7d9e4f60a1b2c3d4e5f60718",
    "operatingSystem": "linux",
    "osImage": "Amazon Linux 2023",
    "systemUUID": "ec2a1b5c-7d9e-4f60-a1b2-c3d4e5f60718",
}


def _container(image: str) -> Object:
    return {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "env": [
            {"name": "LOG_LEVEL", "value": "info"},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"},
            "periodSeconds": 10,
            "timeoutSeconds": 1,
            "successThreshold": 1,
            "failureThreshold": 3,
        },
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
        ],
    }


def _container_status(image: str, *, phase: str, restarts: int) -> Object:
    states: dict[str, Any] = {
        "Pending": {"waiting": {"reason": "ContainerCreating"}},
        "Running": {"running": {"startedAt": _STARTED}},
    }
    ended = {"exitCode": int(phase == "Failed"), "reason": "Completed", "startedAt": _STARTED, "finishedAt": _STARTED}
    return {
        "name": "main",
        "image": image,
        "imageID": f"registry.example/image@sha256:{_digest(image)}",
        "containerID": f"containerd://{_digest(image, phase, str(restarts))}",
        "ready": phase == "Running",
        "started": phase == "Running",
        "restartCount": restarts,
        "state": states.get(phase, {"terminated": ended}),
        "lastState": {},
    }


def _token_volume() -> Object:
    sources: list[Object] = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    return {"name": "token", "projected": {"defaultMode": 420, "sources": sources}}


def _toleration(condition: str) -> Object:
    return {
        "key": f"node.kubernetes.io/{condition}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _as_uuid(text: str) -> str:
    digits = _digest(text)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))
