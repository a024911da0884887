"""The log of refusals: it names the reason, and nobody can fill it."""

import asyncio
import logging

import pytest

from iam4kube.identity.outcomes import Reason, Refused, Unavailable
from iam4kube.kube.objects import Address
from iam4kube.server.refusals import RefusalLog
from tests.support.cluster import pod

NODE = Address("192.168.0.1")


@pytest.mark.looptime
async def test_a_refused_address_is_logged_with_its_reason_and_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    """Traffic from a node's address is the commonest mistake of a set-up: the line says what it is."""
    RefusalLog().answered(NODE, Refused(Reason.NODE_ADDRESS, pod("agent-1", namespace="kube-system")))
    [record] = caplog.records
    fields = vars(record)
    assert record.levelno == logging.WARNING
    assert (fields["address"], fields["reason"]) == (NODE, "node_address")
    assert (fields["namespace"], fields["pod"]) == ("kube-system", "agent-1")
    assert "hostNetwork" in fields["hint"]


@pytest.mark.looptime
async def test_whoever_asks_again_is_logged_every_five_minutes(caplog: pytest.LogCaptureFixture) -> None:
    """Once, however often; again after five minutes; another reason at once."""
    log = RefusalLog()
    for _ in range(100):
        log.answered(NODE, Refused(Reason.NODE_ADDRESS))
    assert len(caplog.records) == 1
    log.answered(NODE, Unavailable(Reason.NOT_SYNCED))
    assert len(caplog.records) == 2
    await asyncio.sleep(300)
    log.answered(NODE, Refused(Reason.NODE_ADDRESS))
    assert len(caplog.records) == 3


@pytest.mark.looptime
async def test_many_addresses_are_one_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """A scan of the address space writes no more than that."""
    log = RefusalLog()
    for number in range(1000):
        log.answered(Address(f"10.1.{number // 250}.{number % 250}"), Unavailable(Reason.UNKNOWN_ADDRESS))
    assert len(caplog.records) == 20
