"""How wishes follow what is known, and how exemptions end when nobody confirms them."""

import asyncio
from dataclasses import dataclass, field

import pytest

from iam4kube.kube.objects import Address
from ip2service.backends_view import UNSYNCED, BackendsView, FamilyBackends
from ip2service.layout import Contents, Family, Layout
from ip2service.wishes import BOOT_LIMIT, EXEMPTION_LIMIT, LOOK_PERIOD, Wishes

pytestmark = pytest.mark.looptime

SERVER = Address("10.1.0.9")
VIEW = BackendsView(
    synced=True,
    families={
        Family.IPV4: FamilyBackends(
            cluster_ip=Address("10.96.0.50"),
            gate=True,
            addresses_in_slices=frozenset({SERVER}),
            exempt=frozenset({SERVER}),
        )
    },
)


@dataclass
class Granted:
    """What was asked for, all of it granted."""

    contents: list[Contents] = field(default_factory=list)
    known: list[frozenset[Address]] = field(default_factory=list)

    def want(self, contents: Contents, *, known: frozenset[Address]) -> None:
        self.contents.append(contents)
        self.known.append(known)

    def exempt(self) -> frozenset[Address]:
        """Of the last wish."""
        exempt = self.contents[-1].route(Family.IPV4).exempt
        assert exempt is not None
        return exempt


@dataclass
class Cluster:
    """A view, and the loop times of the last news and of the node's boot."""

    view: BackendsView = VIEW
    heard_at: float = 0.0
    booted_at: float = -100_000.0

    def uptime(self) -> float:
        return asyncio.get_running_loop().time() - self.booted_at

    def age(self) -> float:
        return asyncio.get_running_loop().time() - self.heard_at


def wishes(cluster: Cluster, granted: Granted, *, exempt_servers: bool = True) -> Wishes:
    """Wishes that follow the cluster's view."""
    return Wishes(
        Layout(),
        granted,
        view=lambda: cluster.view,
        age=cluster.age,
        uptime=cluster.uptime,
        exempt_servers=exempt_servers,
        seen=lambda _view: None,
    )


async def test_nothing_is_wished_for_before_anything_is_known() -> None:
    """What an earlier process left in the kernel is better than nothing."""
    granted = Granted()
    wishes(Cluster(view=UNSYNCED), granted).make()
    assert not granted.contents


async def test_a_wish_has_what_the_view_has() -> None:
    """Route, exempt pods, and the addresses whose connections are left alone."""
    granted = Granted()
    wishes(Cluster(), granted).make()
    route = granted.contents[0].route(Family.IPV4)
    assert (route.frontend, route.gate, route.exempt) == (Address("10.96.0.50"), True, frozenset({SERVER}))
    assert granted.known == [{SERVER}]


async def test_nobody_is_exempt_unless_the_settings_say_so() -> None:
    """The exemption is an operator's decision."""
    granted = Granted()
    wishes(Cluster(), granted, exempt_servers=False).make()
    assert granted.exempt() == frozenset()


async def test_r24_exemptions_end_when_the_api_server_has_not_been_heard_of_for_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The pod may be gone, and its address another pod's; routing goes on. News bring the exemption back."""
    cluster, granted = Cluster(), Granted()
    task = asyncio.create_task(wishes(cluster, granted).run())
    await asyncio.sleep(EXEMPTION_LIMIT - 1)
    assert granted.exempt() == {SERVER}
    await asyncio.sleep(1.5 + LOOK_PERIOD)
    assert granted.exempt() == frozenset()
    assert granted.contents[-1].route(Family.IPV4).gate
    await asyncio.sleep(300)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    cluster.heard_at = asyncio.get_running_loop().time()
    await asyncio.sleep(LOOK_PERIOD)
    assert granted.exempt() == {SERVER}
    task.cancel()
    await asyncio.wait([task])


async def test_r24_nobody_is_exempt_while_the_slices_may_have_addresses_of_before_the_nodes_reboot(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first pod to get the server's old address would be exempt. Routing does not wait, and the log says why."""
    cluster, granted = Cluster(booted_at=-60.0), Granted()
    task = asyncio.create_task(wishes(cluster, granted).run())
    while asyncio.get_running_loop().time() < BOOT_LIMIT - 60.0 - LOOK_PERIOD:
        cluster.heard_at = asyncio.get_running_loop().time()
        await asyncio.sleep(LOOK_PERIOD + 0.1)
        assert granted.contents[-1].route(Family.IPV4).gate
        assert granted.exempt() == frozenset()
    await asyncio.sleep(LOOK_PERIOD + 1)
    assert granted.exempt() == {SERVER}
    assert [record.message for record in caplog.records] == ["No server pod is exempt"]
    task.cancel()
    await asyncio.wait([task])


async def test_a_young_node_is_worth_no_word_where_nobody_is_to_be_exempt(caplog: pytest.LogCaptureFixture) -> None:
    """All other nodes' logs."""
    wishes(Cluster(booted_at=-1.0), Granted(), exempt_servers=False).make()
    assert caplog.records == []
