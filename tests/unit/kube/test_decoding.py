"""Decoding: what is taken from an object's JSON, and what happens when it is not what its kind says."""

import gc
from typing import Any

import pytest

from iam4kube.kube.decoding import decode_node, decode_pod, decode_service_account, decode_taints
from iam4kube.kube.errors import OddObject
from iam4kube.kube.objects import Pod
from tests.support.kube_objects import encoded, node_json, pod_json, service_account_json

RUNNING = {"running": {"startedAt": "2026-11-20T08:00:04Z"}}
TERMINATED = {"terminated": {"exitCode": 0, "finishedAt": "2026-11-20T09:00:04Z"}}
WAITING = {"waiting": {"reason": "PodInitializing"}}
DELETED = "2026-11-20T10:00:30Z"


def decoded(*, deletion: str | None = None, **status: Any) -> Pod:
    """A Pod of this status."""
    pod = pod_json(7, **status)
    if deletion is not None:
        pod["metadata"]["deletionTimestamp"] = deletion
    return decode_pod(encoded(pod))


def container(state: dict[str, Any], *, restarts: int = 0) -> dict[str, Any]:
    """A container's status."""
    return {"name": "app", "containerID": "containerd://1", "restartCount": restarts, "state": state}


def test_a_pod_of_real_size() -> None:
    """All that identity reads of a Pod is there, and the rest is not."""
    pod = decoded()
    assert (pod.namespace, pod.name) == ("team-7", "service-7-6f5d8c7b9d-000007")
    assert (pod.uid, pod.resource_version) == ("00000007-5b0e-4d0c-9a53-7a1c02b0e0f1", "1000007")
    assert (pod.service_account, pod.node, pod.host_network) == ("account-7", "node-7", False)
    assert (pod.addresses, pod.running, pod.finished, pod.deletion) == (("10.64.0.7",), True, False, None)


def test_every_address_counts() -> None:
    """All of `podIPs`, canonical and once each; what is no address is left out."""
    ips = ["10.1.0.1", "FD00::1", "::ffff:10.1.0.1", "", "nonsense"]
    assert decoded(podIPs=[{"ip": ip} for ip in ips]).addresses == ("10.1.0.1", "fd00::1")


def test_a_lone_pod_ip_counts() -> None:
    """`podIP` is enough where `podIPs` is missing."""
    assert decoded(podIPs=None, podIP="10.1.0.9").addresses == ("10.1.0.9",)


def test_null_is_absent() -> None:
    """Go writes null for empty lists and maps here and there."""
    pod = decoded(podIPs=None, podIP=None, containerStatuses=None, startTime=None)
    assert (pod.addresses, pod.finished) == ((), False)


def test_a_pending_pod_has_little() -> None:
    """Not scheduled, no status yet: no node, no address."""
    pod = pod_json(1)
    del pod["status"], pod["spec"]["nodeName"]
    assert (decode_pod(encoded(pod)).node, decode_pod(encoded(pod)).addresses) == ("", ())


@pytest.mark.parametrize(
    ("status", "terminating", "finished"),
    [
        ({"phase": "Succeeded"}, False, True),
        ({"phase": "Failed"}, False, True),
        ({"containerStatuses": [container(TERMINATED)]}, False, False),
        ({"containerStatuses": [container(TERMINATED)]}, True, True),
        ({"containerStatuses": [container(TERMINATED), container(RUNNING)]}, True, False),
        (
            {"containerStatuses": [container(TERMINATED)], "initContainerStatuses": [container(RUNNING)]},
            True,
            False,
        ),
        (
            {"containerStatuses": [container(TERMINATED)], "ephemeralContainerStatuses": [container(RUNNING)]},
            True,
            False,
        ),
        ({"containerStatuses": [container(WAITING)]}, True, False),
        ({"containerStatuses": []}, True, False),
    ],
)
def test_when_a_pod_has_finished(status: dict[str, Any], terminating: bool, finished: bool) -> None:
    """By its phase, or terminating with every container ended; a container that only restarts ends nothing."""
    assert decoded(deletion=DELETED if terminating else None, **status).finished is finished


def test_deletion_is_a_point_in_time() -> None:
    """`deletionTimestamp` in seconds since the epoch, its fractions and offsets understood."""
    assert decoded(deletion="2026-11-20T10:00:30Z").deletion == 1795168830
    assert decoded(deletion="2026-11-20T11:00:30.5+01:00").deletion == 1795168830.5


@pytest.mark.parametrize(
    "written",
    [
        {"containerStatuses": [container(RUNNING, restarts=1)]},
        {"containerStatuses": [container(WAITING)]},
        {"initContainerStatuses": [container(TERMINATED)]},
        {"ephemeralContainerStatuses": [container(RUNNING)]},
        {"podIPs": [{"ip": "10.1.0.1"}]},
        {"startTime": "2026-11-20T09:00:00Z"},
    ],
)
def test_the_status_mark_follows_the_kubelet(written: dict[str, Any]) -> None:
    """Whatever the kubelet writes changes the mark."""
    assert decoded(**written).status_mark != decoded().status_mark


def test_the_status_mark_ignores_other_writers() -> None:
    """The node controller marks pods of a lost node as not ready: that says nothing of their addresses."""
    lost = decoded(conditions=[{"type": "Ready", "status": "False", "reason": "NodeNotReady"}])
    assert lost.status_mark == decoded().status_mark


def test_a_service_account_keeps_its_annotations_unchecked() -> None:
    """Two annotations, as they stand; absent ones are None, empty ones are empty."""
    annotations = {"iam.amazonaws.com/roleArn": "nonsense", "iam.amazonaws.com/roleExternalId": "", "other": "x"}
    account = decode_service_account(encoded(service_account_json("app", namespace="shop", annotations=annotations)))
    assert (account.namespace, account.name) == ("shop", "app")
    assert (account.role_arn, account.external_id) == ("nonsense", "")
    plain = decode_service_account(encoded(service_account_json("plain")))
    assert (plain.role_arn, plain.external_id) == (None, None)


def test_a_node_tells_its_addresses_and_its_place() -> None:
    """Internal and external addresses, boot, readiness, region and zone; host names are no addresses."""
    node = decode_node(encoded(node_json("node-1")))
    assert node.addresses == ("10.0.0.1", "192.0.2.1")
    assert (node.boot_id, node.ready, node.region, node.zone) == ("boot-1", True, "eu-west-1", "eu-west-1a")


def test_a_node_that_just_registered() -> None:
    """Without a status it is not ready and has no address, and without labels no place."""
    bare = node_json("node-1")
    del bare["metadata"]["labels"], bare["status"]
    node = decode_node(encoded(bare))
    assert (node.addresses, node.boot_id, node.ready, node.region) == ((), "", False, None)


def test_taints_are_kept_as_they_stand() -> None:
    """Whoever removes one writes the others back: with fields that nobody knows here."""
    tainted = node_json("node-1") | {"spec": {"taints": [{"key": "x", "effect": "NoSchedule", "new": {"a": 1}}]}}
    found = decode_taints(encoded(tainted))
    assert (found.resource_version, found.taints) == ("1", ({"key": "x", "effect": "NoSchedule", "new": {"a": 1}},))
    assert decode_taints(encoded(node_json("node-1"))).taints == ()
    assert decode_taints(encoded(node_json("node-1") | {"spec": {"taints": None}})).taints == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"metadata":{}}',
        b'{"metadata":{"name":1,"uid":"u","resourceVersion":"1"},"spec":{}}',
        b'{"metadata":{"name":"n","uid":"u","resourceVersion":"1"}}',
        b'{"metadata":{"name":"n","uid":"u","resourceVersion":"1"},"spec":{"hostNetwork":"yes"}}',
        b'{"metadata":{"name":"n","uid":"u","resourceVersion":"1","deletionTimestamp":"soon"},"spec":{}}',
        b'{"metadata":{"name":"\xff","uid":"u","resourceVersion":"1"},"spec":{}}',
    ],
)
def test_an_odd_object_is_one_kind_of_error(data: bytes) -> None:
    """Whatever is wrong with it, the error is `OddObject` and says what."""
    with pytest.raises(OddObject, match=r"."):
        decode_pod(data)


def test_what_repeats_is_stored_once() -> None:
    """Namespace, ServiceAccount and node are the same strings in all pods, and the collector has nothing to visit."""
    one, other = decode_pod(encoded(pod_json(7))), decode_pod(encoded(pod_json(7 + 45000)))
    assert one.namespace is other.namespace
    assert one.service_account is other.service_account
    assert one.node is other.node
    assert not gc.is_tracked(one)
