"""Kubernetes objects as an API server sends them, in their real size: a Pod here is about 7.7 kB of JSON."""

import json
from typing import Any

Json = dict[str, Any]

_MANAGED = {
    "manager": "kube-controller-manager",
    "operation": "Update",
    "apiVersion": "v1",
    "time": "2026-11-20T08:00:00Z",
    "fieldsType": "FieldsV1",
    "fieldsV1": {
        "f:metadata": {"f:labels": {".": {}, **{f"f:app.kubernetes.io/label-{i}": {} for i in range(12)}}},
        "f:spec": {
            'k:{"name":"app"}': {
                ".": {},
                "f:image": {},
                **{f'f:env.k:{{"name":"VARIABLE_{i}"}}': {".": {}, "f:value": {}} for i in range(30)},
            }
        },
    },
}


def pod_json(index: int, *, namespace: str | None = None, **status: Any) -> Json:
    """A running Pod with two containers, environment, volumes, tolerations and managed fields."""
    name = f"service-{index % 900}-6f5d8c7b9d-{index:06d}"
    return {
        "metadata": {
            "name": name,
            "generateName": f"service-{index % 900}-6f5d8c7b9d-",
            "namespace": namespace or f"team-{index % 300}",
            "uid": f"{index:08x}-5b0e-4d0c-9a53-7a1c02b0e0f1",
            "resourceVersion": str(1_000_000 + index),
            "creationTimestamp": "2026-11-20T08:00:00Z",
            "labels": {f"app.kubernetes.io/label-{i}": f"value-{index}-{i}" for i in range(8)},
            "annotations": {f"example.com/annotation-{i}": f"text of the annotation {i}" * 3 for i in range(4)},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": f"service-{index % 900}-6f5d8c7b9d",
                    "uid": "e3b1a1de-2a0b-4b6e-8b53-58a1f0a6b0aa",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": [_MANAGED],
        },
        "spec": {
            "volumes": [
                {"name": f"volume-{i}", "configMap": {"name": f"configuration-{i}", "defaultMode": 420}}
                for i in range(4)
            ],
            "containers": [_container("app"), _container("sidecar")],
            "restartPolicy": "Always",
            "serviceAccountName": f"account-{index % 10}",
            "serviceAccount": f"account-{index % 10}",
            "nodeName": f"node-{index % 5000}",
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300},
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": "2026-11-20T08:00:05Z"}
                for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "hostIP": f"10.0.{index % 5000 // 250}.{index % 250 + 1}",
            "podIP": pod_address(index),
            "podIPs": [{"ip": pod_address(index)}],
            "startTime": "2026-11-20T08:00:01Z",
            "containerStatuses": [_container_status(index, "app"), _container_status(index, "sidecar")],
            "qosClass": "Burstable",
        }
        | status,
    }


def pod_address(index: int) -> str:
    """The address of the Pod with this index."""
    return f"10.{64 + (index >> 16)}.{index >> 8 & 255}.{index & 255}"


def service_account_json(name: str, *, namespace: str = "default", annotations: dict[str, str] | None = None) -> Json:
    """A ServiceAccount."""
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "resourceVersion": "1",
            **({"annotations": annotations} if annotations else {}),
        }
    }


def node_json(name: str, **status: Any) -> Json:
    """A Node that is ready."""
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "labels": {"topology.kubernetes.io/region": "eu-west-1", "topology.kubernetes.io/zone": "eu-west-1a"},
        },
        "spec": {},
        "status": {
            "addresses": [
                {"type": "Hostname", "address": name},
                {"type": "InternalIP", "address": "10.0.0.1"},
                {"type": "ExternalIP", "address": "192.0.2.1"},
            ],
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"bootID": "boot-1"},
        }
        | status,
    }


def encoded(value: object) -> bytes:
    """Compact JSON, as the API server writes it."""
    return json.dumps(value, separators=(",", ":")).encode()


def _container(name: str) -> Json:
    return {
        "name": name,
        "image": f"registry.example.com/team/{name}@sha256:{'0123456789abcdef' * 4}",
        "env": [{"name": f"VARIABLE_{i}", "value": f"value of the variable {i}"} for i in range(14)],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
        "volumeMounts": [{"name": f"volume-{i}", "mountPath": f"/etc/volume-{i}", "readOnly": True} for i in range(4)],
        "terminationMessagePath": "/dev/termination-log",
        "imagePullPolicy": "IfNotPresent",
    }


def _container_status(index: int, name: str) -> Json:
    return {
        "name": name,
        "state": {"running": {"startedAt": "2026-11-20T08:00:04Z"}},
        "lastState": {},
        "ready": True,
        "restartCount": 0,
        "image": f"registry.example.com/team/{name}:1.0",
        "imageID": f"registry.example.com/team/{name}@sha256:{'0123456789abcdef' * 4}",
        "containerID": f"containerd://{index:064x}",
        "started": True,
    }
