"""What a watch does when the API server or the way to it fails, over a real socket, in virtual time."""

import asyncio
import logging
from pathlib import Path

import pytest

from iam4kube.kube.client import KubeClient
from iam4kube.kube.configuration import Kubeconfig
from iam4kube.kube.errors import KubeRefused, KubeUnreachable
from iam4kube.kube.resources import PODS
from iam4kube.kube.watch_options import WatchLimits
from iam4kube.sandbox.kubernetes import KubernetesApi
from iam4kube.sandbox.kubernetes.errors import ApiError
from iam4kube.sandbox.kubernetes.objects import pod
from tests.support.watching import watching

pytestmark = pytest.mark.looptime


async def test_a_watch_that_ends_in_good_order_begins_again_at_once(api: KubernetesApi, client: KubeClient) -> None:
    """The server's time-out, drawn from the limits, costs neither a list nor a delay, and loses no change."""
    limits = WatchLimits(watch_seconds=(5, 5))
    async with watching(client, PODS, limits=limits) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        await asyncio.sleep(12)
        api.create(pod("web", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+web"])
        assert watch.reflector.problem == ""
    assert (api.count("list", "pods"), api.count("watch", "pods")) == (1, 3)
    assert api.requests[-1].request.query["timeoutSeconds"] == "5"
    assert api.requests[-1].request.query["allowWatchBookmarks"] == "true"


@pytest.mark.parametrize("in_status", [True, False], ids=["status", "ERROR event"])
async def test_410_lists_again_at_once(api: KubernetesApi, client: KubeClient, in_status: bool) -> None:
    """A version that expired after it had been in use is no failure: one more list, without any delay."""
    loop = asyncio.get_running_loop()
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        api.create(pod("first", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+first"])
        api.faults.refuse(429, verb="watch", times=1, retry_after=20)
        api.end_watches()
        await asyncio.sleep(10)
        api.create(pod("second", addresses=[]))
        api.compact(expiry_in_status=in_status)
        asked_again = loop.time() + 10
        await watch.handler.until(lambda: "+second" in watch.handler.told)
        assert loop.time() == pytest.approx(asked_again, abs=0.5)
        assert watch.count("watch_failures_total", reason="expired") == 1
    assert api.count("list", "pods") == 2


async def test_410_again_and_again_backs_off(api: KubernetesApi, client: KubeClient) -> None:
    """A version that expires right after its list is a failure: lists do not follow each other in a hot loop."""
    api.faults.refuse(410, verb="watch")
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        await asyncio.sleep(60)
    assert 5 <= api.count("list", "pods") <= 8


async def test_410_on_a_later_page_begins_the_list_again(api: KubernetesApi, client: KubeClient) -> None:
    """A continue token that expires costs a new list; what was taken in already is told once."""
    for index in range(4):
        api.create(pod(f"pod-{index}", addresses=[]))
    async with watching(client, PODS, limits=WatchLimits(page_size=2)) as watch:
        await watch.handler.until(lambda: len(watch.handler.changes) == 2)
        api.faults.refuse(410, verb="list", times=1)
        await watch.handler.until(lambda: watch.reflector.synced)
        assert watch.handler.told == [f"+pod-{index}" for index in range(4)]


async def test_a_line_cut_in_the_middle_loses_nothing(api: KubernetesApi, client: KubeClient) -> None:
    """The half line is not believed; the watch goes on from the last whole one, without a list."""
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        api.create(pod("whole", addresses=[]))
        api.faults.cut(verb="watch")
        api.create(pod("cut", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+whole", "+cut"])
        assert watch.count("watch_failures_total", reason="unreachable") == 1
    assert api.count("list", "pods") == 1


async def test_a_silent_watch_is_dropped(api: KubernetesApi, client: KubeClient) -> None:
    """A connection that says nothing for 70 s counts as dead, although nobody closed it."""
    loop = asyncio.get_running_loop()
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        await asyncio.sleep(1)
        opened = loop.time()
        api.faults.silence(times=1)
        api.create(pod("web", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+web"])
        assert 68 <= loop.time() - opened <= 73
    assert api.count("list", "pods") == 1


async def test_a_list_that_hangs_is_given_up(api: KubernetesApi, client: KubeClient) -> None:
    """A page has its time-out; the next try succeeds."""
    api.faults.hang(verb="list", times=1)
    async with watching(client, PODS, limits=WatchLimits(list_timeout=10)) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        assert 10.8 <= asyncio.get_running_loop().time() <= 12.5
        assert watch.count("watch_failures_total", reason="unreachable") == 1


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_429_is_heeded(api: KubernetesApi, client: KubeClient, verb: str) -> None:
    """Retry-After is waited for, and a throttled watch costs no list."""
    loop = asyncio.get_running_loop()
    api.faults.refuse(429, verb=verb, times=1, retry_after=17)
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.count("watch_failures_total", reason="throttled") == 1)
        refused = loop.time()
        api.create(pod("web", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+web"])
        assert loop.time() - refused >= 16.9
    assert api.count("list", "pods") == (2 if verb == "list" else 1)


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_403_names_the_permission_and_keeps_trying(
    api: KubernetesApi, client: KubeClient, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log line names verb and resource in RBAC's words; once it is granted, all is well."""
    fault = api.faults.forbid(verb=verb, resource="pods")
    async with watching(client, PODS) as watch:
        await asyncio.sleep(5)
        line = next(record for record in caplog.records if "Permission" in record.getMessage())
        assert (line.levelno, line.__dict__["verb"], line.__dict__["resource"]) == (logging.WARNING, verb, "pods")
        assert watch.reflector.problem.startswith(f"{verb} pods: 403 Forbidden")
        lists = api.count("list", "pods")
        fault.lift()
        api.create(pod("web", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+web"])
        assert watch.reflector.problem == ""
    assert api.count("list", "pods") == (lists if verb == "watch" else lists + 1)


async def test_a_rotated_token_is_picked_up(api: KubernetesApi, kubeconfig: Path) -> None:
    """An expired token is answered with 401; the configuration is read again, and the new token let in."""
    short_lived = api.tokens.issue(lifetime=30)
    api.kubeconfig(kubeconfig, token=short_lived)
    limits = WatchLimits(watch_seconds=(10, 10))
    source = Kubeconfig(paths=(kubeconfig,))
    async with KubeClient(source, user_agent="test") as client, watching(client, PODS, limits=limits) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        await asyncio.sleep(31)
        assert watch.count("watch_failures_total", reason="unauthorized") >= 1
        api.kubeconfig(kubeconfig)
        api.create(pod("web", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+web"])
        assert asyncio.get_running_loop().time() < 45
    assert api.count("list", "pods") == 1


async def test_an_unchanged_configuration_keeps_its_connections(api: KubernetesApi, kubeconfig: Path) -> None:
    """Reloading every so often does not disturb a watch whose configuration is the same."""
    source = Kubeconfig(paths=(kubeconfig,), reload_every=5)
    async with KubeClient(source, user_agent="test") as client, watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        await asyncio.sleep(100)
    assert api.count("watch", "pods") == 1


async def test_an_open_watch_outlives_a_new_token(api: KubernetesApi, kubeconfig: Path) -> None:
    """New requests use the new token at once; the watch that is open goes on to its own end."""
    source = Kubeconfig(paths=(kubeconfig,), reload_every=5)
    async with KubeClient(source, user_agent="test") as client, watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        await asyncio.sleep(1)
        api.kubeconfig(kubeconfig, token=api.tokens.issue())
        api.tokens.revoke(api.token)
        await asyncio.sleep(20)
        assert await client.get(PODS, namespace="default", name="web") is None
        api.create(pod("web", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+web"])
        assert api.count("watch", "pods") == 1


async def test_a_broken_configuration_later_keeps_the_last_one(
    api: KubernetesApi, kubeconfig: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A kubeconfig that turns unreadable is a warning, not an end."""
    source = Kubeconfig(paths=(kubeconfig,), reload_every=5)
    async with KubeClient(source, user_agent="test") as client, watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        kubeconfig.unlink()  # noqa: ASYNC240  # one system call
        await asyncio.sleep(20)
        api.create(pod("web", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+web"])
    assert "Kubernetes configuration not reloaded; the last one stays" in caplog.messages


async def test_a_restarted_server_is_found_again(api: KubernetesApi, client: KubeClient) -> None:
    """While the server is away tries grow apart; afterwards the watch goes on where it was, without a list."""
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        await api.stop()
        await asyncio.sleep(30)
        assert 3 <= watch.count("watch_failures_total", reason="unreachable") <= 7
        assert watch.reflector.problem != ""
        await api.start()
        api.create(pod("web", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+web"])
    assert api.count("list", "pods") == 1


async def test_a_watch_that_ends_at_once_backs_off(api: KubernetesApi, client: KubeClient) -> None:
    """A server that ends every watch in good order within a second is not asked in a hot loop."""
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)

        async def end_all() -> None:
            while True:
                api.end_watches()
                await asyncio.sleep(0.1)

        ending = asyncio.create_task(end_all())
        await asyncio.sleep(60)
        ending.cancel()
    assert 4 <= api.count("watch", "pods") <= 9


async def test_an_error_event_that_is_no_410_lists_again_after_a_pause(api: KubernetesApi, client: KubeClient) -> None:
    """An internal error in the stream may be about its version: the way on is a list, after a delay."""
    loop = asyncio.get_running_loop()
    async with watching(client, PODS) as watch:
        await watch.handler.until(lambda: watch.reflector.synced)
        api.create(pod("first", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+first"])
        broken = loop.time()
        api.fail_watches(ApiError(500, "etcdserver: no leader"))
        api.create(pod("second", addresses=[]))
        await watch.handler.until(lambda: watch.handler.told == ["+first", "+second"])
        assert 0.8 <= loop.time() - broken <= 2
    assert api.count("list", "pods") == 2


async def test_a_read_tells_refusal_from_silence(api: KubernetesApi, client: KubeClient) -> None:
    """A refused read says which status; a hanging one ends at the caller's time-out."""
    api.faults.forbid(verb="get", times=1)
    with pytest.raises(KubeRefused, match="403 Forbidden"):
        await client.get(PODS, namespace="default", name="web")
    api.faults.hang(verb="get", times=1)
    started = asyncio.get_running_loop().time()
    with pytest.raises(KubeUnreachable):
        await client.get(PODS, namespace="default", name="web", timeout=0.15)
    assert asyncio.get_running_loop().time() - started == pytest.approx(0.15, abs=0.05)
