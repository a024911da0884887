"""Listing and watching over a real socket, in virtual time: what arrives, and in which order."""

import asyncio

import pytest

from iam4kube.kube.client import KubeClient
from iam4kube.kube.objects import Pod
from iam4kube.kube.resources import NODES, PODS, SERVICE_ACCOUNTS
from iam4kube.kube.watch_options import Selection, WatchLimits
from iam4kube.sandbox.kubernetes import KubernetesApi
from iam4kube.sandbox.kubernetes.objects import node, pod, service_account
from tests.support.watching import watching

pytestmark = pytest.mark.looptime


async def test_a_list_comes_in_pages(api: KubernetesApi, client: KubeClient) -> None:
    """Seven pods in pages of three are three requests, one consistent list, and one call of `synced` after it."""
    for index in range(7):
        api.create(pod(f"pod-{index}", addresses=[f"10.1.0.{index}"]))
    async with watching(client, PODS, limits=WatchLimits(page_size=3)) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        assert watch.handler.told == [f"+pod-{index}" for index in range(7)]
        assert watch.handler.synced_at == [7]
        assert len(watch.reflector.store) == 7
    assert api.count("list", "pods") == 3
    assert all("resourceVersion" not in answered.request.query for answered in api.requests)


async def test_changes_arrive_as_they_happen(api: KubernetesApi, client: KubeClient) -> None:
    """A creation, a change and a deletion are told in this order, with the state before and after."""
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        api.create(pod("web", addresses=[]))
        status = {"podIPs": [{"ip": "10.1.0.9"}, {"ip": "::ffff:10.1.0.10"}]}
        api.patch("pods", "web", {"status": status}, namespace="default")
        api.delete("pods", "web", namespace="default", grace=0)
        await watch.handler.until(lambda: len(watch.handler.changes) == 3)
    assert watch.handler.told == ["+web", "~web", "-web"]
    before, after = watch.handler.changes[1]
    assert before is not None
    assert after is not None
    assert (before.addresses, after.addresses) == ((), ("10.1.0.9", "10.1.0.10"))
    assert watch.handler.changes[2] == (after, None)


async def test_service_accounts_and_nodes_are_watched_too(api: KubernetesApi, client: KubeClient) -> None:
    """ServiceAccounts arrive with their annotations and nodes with addresses, boot and place."""
    api.create(service_account("app", role_arn="arn:aws:iam::111122223333:role/app", external_id="x1"))
    api.create(node("node-a", addresses=["10.0.0.7"], boot_id="boot-7"))
    async with watching(client, SERVICE_ACCOUNTS) as accounts, watching(client, NODES) as nodes:
        await accounts.handler.until(lambda: accounts.reflector.synced)
        await nodes.handler.until(lambda: nodes.reflector.synced)
    app = accounts.reflector.store["default/app"]
    assert (app.role_arn, app.external_id) == ("arn:aws:iam::111122223333:role/app", "x1")
    here = nodes.reflector.store["node-a"]
    assert (here.addresses, here.boot_id, here.ready) == (("10.0.0.7",), "boot-7", True)
    assert (here.region, here.zone) == ("eu-central-1", "eu-central-1a")


async def test_a_recreated_object_is_another_one(api: KubernetesApi, client: KubeClient) -> None:
    """What was deleted and created again while nobody watched is told as a deletion and an addition."""
    api.create(pod("web", addresses=["10.1.0.1"]))
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        first = watch.reflector.store["default/web"]
        api.faults.refuse(503, verb="watch", times=1)
        api.end_watches()
        api.delete("pods", "web", namespace="default", grace=0)
        second = api.create(pod("web", addresses=["10.1.0.2"]))
        api.compact()
        await watch.handler.until(lambda: len(watch.handler.changes) == 3)
    assert watch.handler.changes[1] == (first, None)
    assert watch.handler.changes[2] == (None, watch.reflector.store["default/web"])
    assert watch.reflector.store["default/web"].uid == second["metadata"]["uid"]


async def test_a_new_list_reports_what_vanished(api: KubernetesApi, client: KubeClient) -> None:
    """After a gap that no watch can bridge, the list's additions, changes and disappearances are told, and no more."""
    for name in ("stays", "changes", "goes"):
        api.create(pod(name, addresses=[]))
    async with watching(client, PODS, limits=WatchLimits(page_size=2)) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        watch.handler.changes.clear()
        api.faults.refuse(503, verb="watch", times=1)
        api.end_watches()
        api.delete("pods", "goes", namespace="default", grace=0)
        api.patch("pods", "changes", {"status": {"podIP": "10.1.0.5"}}, namespace="default")
        api.create(pod("comes", addresses=[]))
        api.compact()
        await watch.handler.until(lambda: len(watch.handler.changes) == 3)
        assert watch.handler.told == ["~changes", "+comes", "-goes"]
        assert set(watch.reflector.store) == {"default/stays", "default/changes", "default/comes"}
        assert watch.handler.synced_at == [3]


async def test_bookmarks_move_the_version_and_the_age(api: KubernetesApi, client: KubeClient) -> None:
    """After a bookmark the next watch begins at its version, so the history before it may be gone."""
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        api.advance()
        await asyncio.sleep(61)
        assert watch.reflector.age() < 2
        api.compact()
        api.end_watches()
        api.create(pod("web", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+web"])
    assert api.count("list", "pods") == 1


async def test_the_age_grows_in_silence(api: KubernetesApi, client: KubeClient) -> None:
    """Before the first list the age is infinite; then it is the time since the watch last said anything."""
    async with watching(client, PODS) as watch:
        assert watch.reflector.age() == float("inf")
        await watch.handler.until(lambda: watch.reflector.synced)
        await asyncio.sleep(50)
        assert watch.reflector.age() == pytest.approx(50, abs=1)


async def test_a_selection_reaches_the_server(api: KubernetesApi, client: KubeClient) -> None:
    """Namespace and field selector are applied to list and watch alike."""
    api.create(pod("mine", namespace="a", node="here", addresses=[]))
    api.create(pod("elsewhere", namespace="a", node="there", addresses=[]))
    api.create(pod("other", namespace="b", node="here", addresses=[]))
    selection = Selection(namespace="a", field_selector="spec.nodeName=here")
    async with watching(client, PODS, selection=selection) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        assert watch.handler.told == ["+mine"]
        api.create(pod("not-mine", namespace="b", node="here", addresses=[]))
        api.create(pod("mine-too", namespace="a", node="here", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+mine", "+mine-too"])


async def test_a_failing_handler_does_not_end_the_watch(
    api: KubernetesApi, client: KubeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception of the handler is logged with its traceback and counted; the next change is told."""
    async with watching(client, PODS, failing_on="bad") as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        api.create(pod("bad", addresses=[]))
        api.create(pod("good", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+bad", "+good"])
        assert watch.count("watch_handler_errors_total") == 1
        assert watch.count("watch_failures_total", reason="unreachable") == 0
    (logged,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert logged.exc_info is not None


async def test_an_odd_object_is_left_out_and_the_others_are_not(api: KubernetesApi, client: KubeClient) -> None:
    """An object of an odd shape is skipped and counted, in a list and in a watch; a known one that turns odd goes."""
    odd = pod("odd", addresses=["10.1.0.1"])
    odd["spec"]["hostNetwork"] = "yes"
    api.create(odd)
    api.create(pod("plain", addresses=["10.1.0.2"]))
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        assert watch.handler.told == ["+plain"]
        api.patch("pods", "plain", {"status": {"containerStatuses": "none"}}, namespace="default")
        api.create(pod("later", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+plain", "-plain", "+later"])
        assert watch.count("watch_odd_objects_total") == 2


async def test_one_object_is_read_as_it_stands(api: KubernetesApi, client: KubeClient) -> None:
    """A read gives the same struct as the watch, without asking for a version; an absent object is None."""
    api.create(pod("web", addresses=["10.1.0.1"]))
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        watched = watch.reflector.store["default/web"]
    assert await client.get(PODS, namespace="default", name="web") == watched
    assert await client.get(PODS, namespace="default", name="nobody") is None


async def test_r16_full_objects_are_never_kept(api: KubernetesApi, client: KubeClient) -> None:
    """R16: what is stored of a pod is small and flat, and holds nothing of its spec but what identity reads."""
    large = pod("web", addresses=["10.1.0.1"])
    secret = "a value that nobody needs " * 100
    large["spec"]["containers"][0]["env"].append({"name": "LARGE", "value": secret})
    large["metadata"]["annotations"]["note"] = secret
    api.create(large)
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        api.patch("pods", "web", {"status": {"phase": "Running", "podIP": "10.1.0.2"}}, namespace="default")
        await watch.handler.until(lambda: len(watch.handler.changes) == 2)
        (kept,) = watch.reflector.store.values()
    assert type(kept) is Pod
    assert len(repr(kept)) < 600
    assert secret[:20] not in repr(kept)


async def test_a_kind_that_nobody_writes_to_does_not_grow_old(api: KubernetesApi, client: KubeClient) -> None:
    """A real API server sends no bookmark while its version does not advance: an accepted watch counts as heard of."""
    api.faults.silence()
    oldest = 0.0
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        for _ in range(300):
            await asyncio.sleep(1)
            oldest = max(oldest, watch.reflector.age())
    assert 69 <= oldest <= 75
    assert api.count("list", "pods") == 1
