"""The clients of a rolling upgrade, as objects: 20 pods with boto3, and 20 of a program that asks more often."""

from pathlib import Path
from typing import Any

from iam4kube.sandbox.kubernetes import objects
from tests.support.node_agent_api import Object
from tests.support.world import role_arn

SHOP = "shop"
"""Their namespace."""
ROLE = "orders"
"""Of all of them, and their ServiceAccount's name."""
CLIENTS = (("deployment", "client"), ("deployment", "boto3"))
_PODS = 20
# Three connections a call: 170 new connections a second from the program, and 30 from boto3, whose every session costs
# 25 ms of processor time.
_SECONDS_BETWEEN_CALLS = 0.35
_SECONDS_BETWEEN_KEPT = 0.5
_SECONDS_BETWEEN_BOTO3 = 2.0
_HERE = Path(__file__).parent


def client_objects() -> list[tuple[str, Object]]:
    """What to create, each with its collection's path."""
    asking = (str(_HERE / "upgrade_client.py"), str(_SECONDS_BETWEEN_CALLS), str(_SECONDS_BETWEEN_KEPT))
    boto3 = (str(_HERE / "upgrade_boto3.py"), str(_SECONDS_BETWEEN_BOTO3))
    apps = f"/apis/apps/v1/namespaces/{SHOP}"
    account = objects.service_account(ROLE, namespace=SHOP, role_arn=role_arn(ROLE))
    return [
        ("/api/v1/namespaces", {"metadata": {"name": SHOP}}),
        (f"/api/v1/namespaces/{SHOP}/serviceaccounts", account),
        (f"{apps}/deployments", _workload("client", asking, replicas=_PODS)),
        (f"{apps}/deployments", _workload("boto3", boto3, replicas=_PODS)),
    ]


def _workload(name: str, arguments: tuple[str, ...], **spec: Any) -> Object:
    labels = {"app": name}
    container = {"name": name, "image": "client:1", "args": list(arguments)}
    pod = {
        "serviceAccountName": ROLE,
        "automountServiceAccountToken": False,
        "nodeSelector": {"role": "worker"},
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {"metadata": {"name": name}, "spec": {**spec, "selector": {"matchLabels": labels}, "template": template}}
