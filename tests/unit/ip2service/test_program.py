"""The router's start: in which order things happen, and what a mistake leaves behind. The kernel is in memory."""

import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from iam4kube.runtime.settings import SettingsError, load
from iam4kube.runtime.tasks import Supervisor
from iam4kube.sandbox.kubernetes import KubernetesApi, objects
from iam4kube.sandbox.kubernetes.networking import endpoint, endpoint_slice, service
from ip2service import program
from ip2service.layout import Contents, Family, Route
from ip2service.ruleset import GUARD_TABLE, ROUTING_TABLE
from ip2service.settings import PREFIX, RouterSettings
from tests.support.router_kernel import KernelInMemory

NOTHING: Mapping[str, str] = {}


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> KernelInMemory:
    """An empty one, in the place of the machine's."""
    kernel = KernelInMemory()
    monkeypatch.setattr(program, "open_kernel", kernel.opened)
    return kernel


def settings(*flags: str) -> RouterSettings:
    """Of a router whose admin port the kernel chooses."""
    flags = ("--node-name=node-a", "--admin-listen=127.0.0.1:0", *flags)
    return load(RouterSettings, flags, NOTHING, prog="ip2service run", prefix=PREFIX)


async def test_guards_stand_though_there_is_no_usable_configuration_r21(kernel: KernelInMemory) -> None:
    """A router that cannot ask anybody still refuses."""
    with pytest.raises(SettingsError, match="no such file"):
        async with program.open_router(settings("--kubeconfig=/nowhere/config"), NOTHING):
            pass
    assert set(kernel.tables) == {GUARD_TABLE, ROUTING_TABLE}
    assert len(kernel.rules) == 4


async def test_whoever_hears_of_an_unusable_configuration_hears_that_the_guards_stay(kernel: KernelInMemory) -> None:
    """And what removes them: the mistake may have been to start the router here at all."""
    with pytest.raises(SettingsError) as raised:
        async with program.open_router(settings("--kubeconfig=/nowhere/config"), NOTHING):
            pass
    mistake, rest = raised.value.mistakes
    assert "no such file" in mistake
    assert "the guards are in place and stay" in rest
    assert "`ip2service uninstall`" in rest


async def test_an_address_in_use_changes_nothing(kernel: KernelInMemory) -> None:
    """It is told before anything is done."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flag = f"--admin-listen=127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match="another process listens there"):
            async with program.open_router(settings(flag), NOTHING):
                pass
    assert (kernel.applied, kernel.rules) == ([], set())


async def test_a_table_of_somebody_else_changes_nothing(kernel: KernelInMemory) -> None:
    """One line that says what to look at."""
    kernel.install(Contents())
    kernel.tables[ROUTING_TABLE].comment = "mine"
    kernel.rules.clear()
    with pytest.raises(SettingsError) as raised:
        async with program.open_router(settings(), NOTHING):
            pass
    [line] = raised.value.mistakes
    assert "table inet ip2service belongs to somebody else" in line
    assert (kernel.applied, kernel.rules) == ([], set())


async def test_a_kernel_that_refuses_is_a_mistake_in_one_line(kernel: KernelInMemory) -> None:
    """A missing capability, or no nf_tables."""
    kernel.refusal = "the capability NET_ADMIN is missing: grant it"
    with pytest.raises(SettingsError) as raised:
        async with program.open_router(settings(), NOTHING):
            pass
    assert raised.value.mistakes == ("the capability NET_ADMIN is missing: grant it",)


async def test_a_kernel_without_policy_rules_is_a_mistake_that_changes_nothing(kernel: KernelInMemory) -> None:
    """They are read before the first table is written."""
    kernel.unreadable_policy = "policy rules cannot be read: this kernel lacks it"
    with pytest.raises(SettingsError) as raised:
        async with program.open_router(settings(), NOTHING):
            pass
    assert raised.value.mistakes == ("policy rules cannot be read: this kernel lacks it",)
    assert (kernel.applied, kernel.rules) == ([], set())


async def test_a_policy_rule_that_is_refused_does_not_keep_a_router_from_starting(
    kernel: KernelInMemory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A new node's pods would have no credentials, though servers are ready: it is not ready, and says why."""
    caplog.set_level("INFO")
    kernel.stuck_policy = "File exists"
    async with KubernetesApi() as api:
        flag = f"--kubeconfig={api.kubeconfig(tmp_path / 'kubeconfig')}"
        async with program.open_router(settings(flag), NOTHING) as router:
            assert "rules: File exists" in router.readiness.missing()
    assert set(kernel.tables) == {GUARD_TABLE, ROUTING_TABLE}
    assert "Guards are in place" not in caplog.messages


async def test_an_earlier_routers_guard_is_left_alone(kernel: KernelInMemory, tmp_path: Path) -> None:
    """A restart touches no rule."""
    kernel.install(Contents(routes={Family.IPV4: Route(frontend=None)}))
    async with KubernetesApi() as api:
        flag = f"--kubeconfig={api.kubeconfig(tmp_path / 'kubeconfig')}"
        async with program.open_router(settings(flag), NOTHING):
            assert kernel.applied == []


async def test_a_router_becomes_ready_and_routes(kernel: KernelInMemory, tmp_path: Path) -> None:
    """From the API server's objects to a transaction, with all parts between them."""
    async with KubernetesApi() as api:
        api.create_namespace("iam4kube")
        api.create(objects.node("node-a", addresses=["10.0.0.1"]))
        api.create(service("iam4kube", namespace="iam4kube"))
        slices = endpoint_slice("a", service="iam4kube", namespace="iam4kube", endpoints=[endpoint("10.1.0.5")])
        api.create(slices)
        flag = f"--kubeconfig={api.kubeconfig(tmp_path / 'kubeconfig')}"
        async with program.open_router(settings(flag), NOTHING) as router, Supervisor() as tasks:
            assert [line.partition(":")[0] for line in router.readiness.missing()] == ["services", "endpointslices"]
            await router.start(tasks)
            await router.readiness.until_ready()
            await router.admin.stop(0.1)
    routed = "add element inet ip2service opening4 { 169.254.169.254 . 80 : 10.96.0.50 }"
    assert any(routed in text for text in kernel.applied)


async def test_a_bypass_is_seen_before_anything_can_be_ready(kernel: KernelInMemory, tmp_path: Path) -> None:
    """The startup taint, once removed, does not come back: a router that looks later has let pods in."""
    kernel.links = frozenset({"lo", "cilium_host"})
    async with KubernetesApi() as api:
        flag = f"--kubeconfig={api.kubeconfig(tmp_path / 'kubeconfig')}"
        async with program.open_router(settings(flag), NOTHING) as router, Supervisor() as tasks:
            await router.start(tasks)
            assert [line for line in router.readiness.missing() if line.startswith("bypass: ")]
            await router.admin.stop(0.1)
