"""What becomes of the signs of a bypass. Which signs there are is in the tests of `ip2service.bypass`."""

import asyncio

import pytest

from iam4kube.kube.objects import Address
from ip2service.bypass_watch import BypassWatch
from ip2service.layout import Contents, Family, Route
from ip2service.ruleset import ROUTING_TABLE
from tests.support.router_kernel import KernelInMemory

pytestmark = pytest.mark.looptime

ROUTED = Contents(routes={Family.IPV4: Route(frontend=Address("10.96.0.50"), gate=True)})


def watch(memory: KernelInMemory, *, accepted: bool = False) -> tuple[BypassWatch, list[bool]]:
    """A watch of a node that routes, and what the metric hears."""
    memory.install(ROUTED)
    suspected: list[bool] = []
    return BypassWatch(memory.kernel(), accepted=accepted, suspected=suspected.append), suspected


async def test_a_plugins_link_is_a_problem_until_it_is_gone() -> None:
    """Plugins are replaced while nodes run."""
    memory = KernelInMemory(links=frozenset({"lo", "cilium_host"}))
    looking, suspected = watch(memory)
    await looking.look()
    assert "cilium_host" in looking.problem
    memory.links = frozenset({"lo"})
    await looking.look()
    assert (looking.problem, suspected) == ("", [True, False])


async def test_an_accepted_sign_is_counted_and_no_problem(caplog: pytest.LogCaptureFixture) -> None:
    """One warning stays."""
    looking, suspected = watch(KernelInMemory(links=frozenset({"cilium_host"})), accepted=True)
    await looking.look()
    assert (looking.problem, suspected) == ("", [True])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_packets_that_nobody_answers_are_one_problem_however_many_they_get() -> None:
    """The sentence stays as it was: each new one would be another event."""
    memory = KernelInMemory()
    looking, _ = watch(memory)
    said = set()
    for packets in range(0, 1000, 10):
        memory.tables[ROUTING_TABLE].packets = {"there": packets, "back": 0}
        await looking.look()
        said.add(looking.problem)
        await asyncio.sleep(10)
    assert len(said - {""}) == 1
    assert looking.problem


async def test_resets_of_our_own_are_no_replies() -> None:
    """They pass `back` as replies do: a proxy that came late would hide for ever that replies are led past it."""
    memory = KernelInMemory()
    looking, _ = watch(memory)
    for opening in range(0, 1000, 100):
        memory.tables[ROUTING_TABLE].packets = {"there": 40 + opening, "back": 40, "unserved": 40}
        await looking.look()
        await asyncio.sleep(10)
    assert looking.problem


async def test_connections_that_are_reset_here_are_no_sign() -> None:
    """A proxy that is not there yet is another trouble, which has its own counter."""
    memory = KernelInMemory()
    looking, _ = watch(memory)
    for refused in range(0, 1000, 100):
        memory.tables[ROUTING_TABLE].packets = {"there": refused, "back": refused - refused // 50, "unserved": refused}
        await looking.look()
        await asyncio.sleep(10)
        assert not looking.problem


async def test_a_kernel_that_refuses_ends_nothing() -> None:
    """The reconciler says what is wrong."""
    memory = KernelInMemory(links=frozenset({"cilium_host"}))
    looking, _ = watch(memory)
    memory.refusal = "busy"
    task = asyncio.create_task(looking.run())
    await asyncio.sleep(60)
    memory.refusal = ""
    await asyncio.sleep(11)
    assert looking.problem
    task.cancel()
    await asyncio.wait([task])
