"""The server's own role: asked for until it is known, and kept from pods from then on."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from iam4kube.credentials.values import Credentials, FailureKind, FetchError
from iam4kube.identity.accounts import RolePolicy
from iam4kube.roles import InvalidRole, Role, RoleKey, parse_role_arn, session_name
from iam4kube.server.own_role import OwnRole, OwnRoleFirst
from tests.support.cluster import EPOCH

OWN = parse_role_arn("arn:aws:iam::111111111111:role/iam4kube-server")
ASSUMED = parse_role_arn("arn:aws:iam::222222222222:role/iam4kube-pods")
OTHER = parse_role_arn("arn:aws:iam::111111111111:role/orders")
CHINESE = parse_role_arn("arn:aws-cn:iam::111111111111:role/orders")


@dataclass(frozen=True)
class Answer:
    """What AWS says of a caller."""

    partition: str = "aws"
    account: str = "111111111111"
    role_name: str | None = "iam4kube-server"


CALLER = Answer()


@dataclass
class StsThatComesUpLate:
    """Fails until a moment of the loop's clock."""

    up_at: float = 0.0
    answer: Answer = CALLER
    asked: list[float] = field(default_factory=list)

    async def caller(self) -> Answer:
        now = asyncio.get_running_loop().time()
        self.asked.append(now)
        if now < self.up_at:
            raise FetchError(kind=FailureKind.TRANSIENT, code="EndpointConnectionError", message="nobody there")
        return self.answer


def allows(policy: RolePolicy, role: Role) -> bool:
    """Whether a pod may have a role under a policy."""
    try:
        policy.check(role)
    except InvalidRole:
        return False
    return True


async def policies_after(
    source: StsThatComesUpLate, *, seconds: float, assumed: Role | None = None
) -> list[RolePolicy]:
    """Every policy that was put in force within so many seconds."""
    used: list[RolePolicy] = []
    own_role = OwnRole(source, assumed=assumed, use=used.append)
    task = asyncio.create_task(own_role.run())
    await asyncio.sleep(seconds)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    return used


@pytest.mark.looptime
async def test_no_pod_may_name_the_servers_own_role_once_it_is_known() -> None:
    """Asked once, and never again."""
    source = StsThatComesUpLate()
    first, last = await policies_after(source, seconds=3600)
    assert allows(first, OWN)
    assert not allows(last, OWN)
    assert allows(last, OTHER)
    assert len(source.asked) == 1


@pytest.mark.looptime
async def test_roles_of_another_partition_are_refused() -> None:
    """STS of one partition cannot assume a role of another."""
    policies = await policies_after(StsThatComesUpLate(), seconds=1)
    assert not allows(policies[-1], CHINESE)


@pytest.mark.looptime
async def test_the_assumed_role_is_kept_from_pods_at_once() -> None:
    """It is in the settings: STS is not needed to know it, nor its partition."""
    [policy] = await policies_after(StsThatComesUpLate(up_at=1e9), seconds=60, assumed=ASSUMED)
    assert not allows(policy, ASSUMED)
    assert not allows(policy, CHINESE)
    assert allows(policy, OTHER)


@pytest.mark.looptime
async def test_both_of_the_servers_roles_are_kept_from_pods() -> None:
    """The one it runs as and the one it assumes."""
    policies = await policies_after(StsThatComesUpLate(), seconds=1, assumed=ASSUMED)
    assert not allows(policies[-1], OWN)
    assert not allows(policies[-1], ASSUMED)


@pytest.mark.looptime
async def test_it_is_asked_for_until_sts_is_up_and_ever_more_rarely() -> None:
    """Ten minutes of outage are some dozens of calls, and the role is known within half a minute after them."""
    source = StsThatComesUpLate(up_at=600)
    policies = await policies_after(source, seconds=631)
    assert not allows(policies[-1], OWN)
    assert 20 <= len(source.asked) <= 120
    assert source.asked[-1] >= 600


@pytest.mark.looptime
async def test_a_user_has_no_role_to_keep_from_pods() -> None:
    """Only the partition is learnt then."""
    policies = await policies_after(StsThatComesUpLate(answer=Answer(role_name=None)), seconds=1)
    assert allows(policies[-1], OWN)
    assert not allows(policies[-1], CHINESE)


class SourceThatCounts:
    """Has credentials for everybody, and remembers when it was asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def fetch(self, key: RoleKey) -> Credentials:
        self.asked.append(asyncio.get_running_loop().time())
        return Credentials("AKIA", "secret", "token", EPOCH + timedelta(hours=1), EPOCH)


@pytest.mark.looptime
async def test_no_role_is_fetched_before_the_servers_own_is_known() -> None:
    """It could be the server's own: a fetch waits for 5 s, fails as a passing trouble, and succeeds afterwards."""
    known, source = asyncio.Event(), SourceThatCounts()
    gated = OwnRoleFirst(source, known=known)
    key = RoleKey(OWN.arn, None, session_name(namespace="shop", service_account="greedy"))
    with pytest.raises(FetchError) as failure:
        await gated.fetch(key)
    assert (failure.value.kind, source.asked, asyncio.get_running_loop().time()) == (FailureKind.TRANSIENT, [], 5.0)
    asyncio.get_running_loop().call_later(2, known.set)
    await gated.fetch(key)
    assert source.asked == [7.0]
