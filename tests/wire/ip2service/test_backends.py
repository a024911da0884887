"""Backends by real watches, in virtual time: what the API server does to them, and what they make of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from iam4kube.kube.client import KubeClient
from iam4kube.sandbox.kubernetes import KubernetesApi
from iam4kube.sandbox.kubernetes.networking import endpoint, endpoint_slice, service
from ip2service.problems import ProblemKind, ServiceReference
from tests.support.router_backends import WatchedBackends, watched_backends

pytestmark = pytest.mark.looptime

REFERENCE = ServiceReference(namespace="iam4kube", name="iam4kube")
HOME = REFERENCE.namespace


@pytest.fixture
async def watched(api: KubernetesApi, client: KubeClient) -> AsyncIterator[WatchedBackends]:
    """Backends of a Service with one ready endpoint, synced."""
    api.create(service("iam4kube", namespace=HOME))
    api.create(endpoint_slice("iam4kube-a", service="iam4kube", namespace=HOME, endpoints=[endpoint("10.1.0.1")]))
    async with watched_backends(client, REFERENCE) as watched:
        await watched.until(lambda: watched.view.synced)
        yield watched


def addresses(watched: WatchedBackends) -> list[str]:
    """Where new connections go."""
    return [each.address for each in watched.ipv4.endpoints]


async def test_only_this_service_is_watched(api: KubernetesApi, watched: WatchedBackends) -> None:
    """Neither others of its namespace nor its namesake elsewhere change anything, nor are they sent."""
    for name, namespace in (("other", HOME), ("iam4kube", "elsewhere")):
        api.create(service(name, namespace=namespace, cluster_ips=["10.96.0.99"]))
        found = endpoint_slice(f"{name}-b", service=name, namespace=namespace, endpoints=[endpoint("10.1.0.9")])
        api.create(found)
    await asyncio.sleep(5)
    assert (watched.ipv4.cluster_ip, addresses(watched)) == ("10.96.0.50", ["10.1.0.1"])
    assert [len(reflector.store) for reflector in watched.reflectors] == [1, 1]


async def test_a_service_deleted_and_made_anew_has_its_new_address(
    api: KubernetesApi, watched: WatchedBackends
) -> None:
    """In between nothing is routed."""
    api.delete("services", "iam4kube", namespace=HOME)
    await watched.until(lambda: watched.view.broken is not None)
    assert [problem.kind for problem in watched.view.problems] == [ProblemKind.SERVICE_MISSING]
    assert (watched.ipv4.cluster_ip, watched.ipv4.gate) == (None, False)
    api.create(service("iam4kube", namespace=HOME, cluster_ips=["10.96.0.99"]))
    await watched.until(lambda: watched.view.broken is None)
    assert (watched.ipv4.cluster_ip, watched.ipv4.gate) == ("10.96.0.99", True)


async def test_what_was_missed_during_an_outage_is_made_up_for_r22(
    api: KubernetesApi, watched: WatchedBackends
) -> None:
    """Slices that vanished while nobody watched are gone after it, and until then all stays as it was."""
    await api.stop()
    await asyncio.sleep(300)
    assert watched.ipv4.gate
    api.delete("endpointslices", "iam4kube-a", namespace=HOME)
    api.compact()
    await api.start()
    await watched.until(lambda: not watched.ipv4.gate, seconds=180)  # two delays of the back-off at its longest
    assert (addresses(watched), watched.ipv4.addresses_in_slices) == ([], frozenset())


async def test_a_slice_that_changes_hands_is_gone(api: KubernetesApi, watched: WatchedBackends) -> None:
    """Its label says whose it is."""
    labels = {"kubernetes.io/service-name": "other"}
    api.patch("endpointslices", "iam4kube-a", {"metadata": {"labels": labels}}, namespace=HOME)
    await watched.until(lambda: not watched.ipv4.gate)
    assert watched.ipv4.addresses_in_slices == frozenset()


async def test_an_odd_slice_costs_only_itself(api: KubernetesApi, watched: WatchedBackends) -> None:
    """What it was before counts no more: better nobody than somebody who may be gone."""
    api.create(endpoint_slice("iam4kube-b", service="iam4kube", namespace=HOME, endpoints=[endpoint("10.1.0.2")]))
    await watched.until(lambda: addresses(watched) == ["10.1.0.1", "10.1.0.2"])
    api.patch("endpointslices", "iam4kube-a", {"ports": [{"name": "router", "port": "http"}]}, namespace=HOME)
    await watched.until(lambda: addresses(watched) == ["10.1.0.2"])


async def test_a_rolling_upgrade_of_a_single_replica_never_closes_the_gate(
    api: KubernetesApi, watched: WatchedBackends
) -> None:
    """The old one serves while it terminates, until the new one is ready."""
    steps = [
        [endpoint("10.1.0.1", ready=False, serving=True, terminating=True)],
        [endpoint("10.1.0.1", ready=False, serving=True, terminating=True), endpoint("10.1.0.2", ready=False)],
        [endpoint("10.1.0.1", ready=False, serving=True, terminating=True), endpoint("10.1.0.2")],
        [endpoint("10.1.0.2")],
    ]
    used = ["10.1.0.1", "10.1.0.1", "10.1.0.2", "10.1.0.2"]
    for endpoints, address in zip(steps, used, strict=True):
        api.patch("endpointslices", "iam4kube-a", {"endpoints": endpoints}, namespace=HOME)
        everybody = {each for found in endpoints for each in found["addresses"]}
        await watched.until(lambda: watched.ipv4.addresses_in_slices == everybody)  # noqa: B023  # asked at once
        await watched.until(lambda: addresses(watched) == [address])  # noqa: B023  # the same
    assert all(watched.gates)
