"""The waits of a request, from its address to its answer, at exact virtual times."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import pytest_asyncio

from iam4kube.credentials.values import Credentials, Fetched, Refused
from iam4kube.identity.outcomes import NoRole, Reason, Unavailable
from iam4kube.identity.outcomes import Refused as RefusedAddress
from iam4kube.kube.objects import Address
from iam4kube.metadata.lookup import Answer, Lookup, RoleAnswer
from iam4kube.roles import RoleKey
from tests.support.cluster import EPOCH, OTHER_ROLE, Cluster, account, node, pod

pytestmark = pytest.mark.looptime

ASKER = Address("10.0.0.7")
FETCHED = Fetched(Credentials("AKIA", "secret", "token", EPOCH + timedelta(hours=1), EPOCH), 3600.0)


class CredentialsThatArrive:
    """Has nothing until it is told, and knows what is waited for."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.in_hand: dict[RoleKey, Fetched | Refused] = {}
        self.demanded: list[str] = []

    def lookup(self, key: RoleKey) -> Fetched | Refused | None:
        return self.in_hand.get(key)

    @contextmanager
    def demand(self, key: RoleKey, *, namespace: str) -> Iterator[None]:
        self.demanded.append(key.arn)
        try:
            yield
        finally:
            self.demanded.remove(key.arn)

    def arrive(self, what: Fetched | Refused = FETCHED) -> None:
        """Every role that is held now has this."""
        for key in self._cluster.sink.held:
            self.in_hand[key] = what
            self._cluster.waits.wake(key)


class Asking:
    """A synced cluster, and requests to it."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.cluster.sync()
        self.cluster.deliver(node("node-1", "192.168.0.1"), account())
        self.credentials = CredentialsThatArrive(self.cluster)
        self.heard: list[Answer] = []
        self.lookup = Lookup(
            identities=self.cluster.chain,
            confirmations=self.cluster.directory.confirmations,
            credentials=self.credentials,
            waits=self.cluster.waits,
            observer=lambda address, answer: self.heard.append(answer),
        )

    def ask(self, seconds: float = 15.0) -> asyncio.Task[tuple[Answer, float]]:
        """Ask from ASKER; the answer comes with the time at which it was given."""
        return asyncio.create_task(self._ask(asyncio.get_running_loop().time() + seconds))

    async def _ask(self, deadline: float) -> tuple[Answer, float]:
        answer = await self.lookup.answer(ASKER, deadline=deadline)
        return answer, asyncio.get_running_loop().time()

    def nothing_is_left(self) -> bool:
        """Whether no wait and no demand was left behind."""
        return len(self.cluster.waits) == 0 and not self.cluster.waits._waiting and not self.credentials.demanded


@pytest_asyncio.fixture
async def asking() -> AsyncIterator[Asking]:
    """Requests to a cluster whose live reads run."""
    made = Asking()
    reads = asyncio.create_task(made.cluster.directory.confirmations.run())
    await asyncio.sleep(0)
    yield made
    reads.cancel()
    await asyncio.gather(reads, return_exceptions=True)


async def test_a_settled_answer_is_had_without_suspending(asking: Asking) -> None:
    """The warm path."""
    asking.cluster.deliver(pod("orders-1", ASKER))
    asking.credentials.arrive()
    answer = asking.lookup.peek(ASKER)
    assert isinstance(answer, RoleAnswer)
    assert asking.heard == [answer]


async def test_an_open_question_is_not_answered_by_peeking(asking: Asking) -> None:
    """Nothing is registered and nobody hears of it."""
    assert asking.lookup.peek(ASKER) is None
    assert asking.nothing_is_left()
    assert asking.heard == []


async def test_every_missing_part_is_waited_for_and_the_answer_comes_with_the_last(asking: Asking) -> None:
    """Pod at 1 s, its node at 2 s, its ServiceAccount at 3 s, the credentials at 4 s: answered at 4 s."""
    asked = asking.ask()
    cluster = asking.cluster
    await asyncio.sleep(1)
    cluster.deliver(pod("orders-1", ASKER, node="node-2", service_account="late"))
    await asyncio.sleep(1)
    cluster.deliver(node("node-2"))
    await asyncio.sleep(1)
    cluster.deliver(account("late"))
    await asyncio.sleep(1)
    assert not asked.done()
    asking.credentials.arrive()
    answer, at = await asked
    assert isinstance(answer, RoleAnswer)
    assert at == 4
    assert asking.nothing_is_left()


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (0, Reason.UNKNOWN_ADDRESS),
        (1, Reason.UNKNOWN_NODE),
        (2, Reason.UNKNOWN_SERVICE_ACCOUNT),
        (3, Reason.NO_CREDENTIALS_YET),
    ],
)
async def test_a_wait_ends_at_its_deadline_and_says_what_was_missing(
    asking: Asking, known: int, reason: Reason
) -> None:
    """At the deadline to the instant, and nothing is left behind."""
    parts = (pod("orders-1", ASKER, node="node-2", service_account="late"), node("node-2"), account("late"))
    asking.cluster.deliver(*parts[:known])
    answer, at = await asking.ask(seconds=15)
    assert isinstance(answer, Unavailable)
    assert (answer.reason, at) == (reason, 15)
    assert asking.nothing_is_left()


async def test_a_wait_ends_when_its_client_hangs_up(asking: Asking) -> None:
    """No answer is made up for nobody, and nothing is left behind."""
    asking.cluster.deliver(pod("orders-1", ASKER))
    asked = asking.ask()
    await asyncio.sleep(1)
    assert asking.credentials.demanded
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert asking.nothing_is_left()
    assert asking.heard == []


async def test_a_wait_ends_at_shutdown(asking: Asking) -> None:
    """What waits is released at once, and who asks later does not wait."""
    asked = asking.ask()
    await asyncio.sleep(1)
    asking.cluster.waits.close()
    answer, at = await asked
    assert (answer, at) == (Unavailable(Reason.SHUTTING_DOWN), 1)
    assert (await asking.ask())[0] == Unavailable(Reason.SHUTTING_DOWN)
    assert asking.nothing_is_left()


async def test_a_role_that_sts_refuses_is_no_role_at_once_and_says_why(asking: Asking) -> None:
    """The SDK goes on to its next provider instead of waiting."""
    asking.cluster.deliver(pod("orders-1", ASKER))
    asked = asking.ask()
    await asyncio.sleep(1)
    asking.credentials.arrive(Refused("AccessDenied", "not authorized to perform sts:AssumeRole"))
    answer, at = await asked
    assert isinstance(answer, NoRole)
    assert (answer.reason, at) == (Reason.STS_REFUSES, 1)
    assert "not authorized" in answer.detail


async def test_a_pod_that_loses_its_address_while_it_waits_is_not_answered_for_its_successor(asking: Asking) -> None:
    """After every wait the whole chain is evaluated again."""
    asking.cluster.deliver(pod("orders-1", ASKER))
    asked = asking.ask()
    await asyncio.sleep(1)
    asking.cluster.deliver(pod("orders-1", ASKER, finished=True))
    asking.cluster.deliver(account("billing", OTHER_ROLE), pod("billing-1", ASKER, service_account="billing"))
    await asyncio.sleep(1)
    asking.credentials.arrive()
    answer, at = await asked
    assert isinstance(answer, RoleAnswer)
    assert (answer.identified.pod.name, answer.identified.key.arn, at) == ("billing-1", OTHER_ROLE, 2)


async def test_a_role_exchanged_while_it_is_waited_for_is_not_waited_for_any_longer(asking: Asking) -> None:
    """A change of the annotation wakes the request, which then waits for the new role."""
    asking.cluster.deliver(pod("orders-1", ASKER))
    asked = asking.ask()
    await asyncio.sleep(1)
    asking.cluster.deliver(account("orders", OTHER_ROLE))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asking.credentials.demanded == [OTHER_ROLE]
    asking.credentials.arrive()
    answer, _ = await asked
    assert isinstance(answer, RoleAnswer)
    assert answer.identified.key.arn == OTHER_ROLE


async def test_an_address_that_turns_out_to_be_a_node_s_is_refused_at_once(asking: Asking) -> None:
    """The node was made a moment after its first request."""
    asked = asking.ask()
    await asyncio.sleep(1)
    asking.cluster.deliver(node("node-2", ASKER))
    assert await asked == (RefusedAddress(Reason.NODE_ADDRESS), 1)


async def test_an_annotation_set_a_moment_ago_costs_one_read_however_many_ask(asking: Asking) -> None:
    """Single-flight: a hundred requests, one GET, and the role's credentials are demanded."""
    asking.cluster.deliver(account(role_arn=None), pod("orders-1", ASKER))
    asking.cluster.api.put(account())
    asking.cluster.api.delay = 0.1
    asked = [asking.ask(seconds=1) for _ in range(100)]
    await asyncio.sleep(0.1)
    await asyncio.sleep(0)
    answers = await asyncio.gather(*asked)
    assert len(asking.cluster.api.reads) == 1
    assert {type(answer).__name__ for answer, _ in answers} == {"Unavailable"}  # its credentials never come here
    assert {getattr(answer, "reason", None) for answer, _ in answers} == {Reason.NO_CREDENTIALS_YET}


async def test_pods_without_a_role_need_no_room_for_a_live_read(asking: Asking) -> None:
    """100 namespaces ask at once: 64 reads, and the watch's word for the others instead of a 503."""
    asking.cluster.api.delay = 0.1
    addresses = [Address(f"10.1.0.{last}") for last in range(100)]
    for number, address in enumerate(addresses):
        namespace = f"tenant-{number}"
        bare = account(namespace=namespace, role_arn=None)
        asking.cluster.api.put(bare)
        asking.cluster.deliver(bare, pod("web", address, namespace=namespace))
    answers = await asyncio.gather(*(asking.lookup.answer(address, deadline=1) for address in addresses))
    assert len(asking.cluster.api.reads) == 64
    assert {getattr(answer, "reason", None) for answer in answers} == {Reason.NO_ANNOTATION}


async def test_live_reads_are_bounded_and_who_finds_no_room_is_not_answered(asking: Asking) -> None:
    """Ambiguous claims on 200 addresses at once: 64 reads, and the rest unavailable at once, not guessed."""
    asking.cluster.api.delay = 0.1
    addresses = [Address(f"10.1.0.{last}") for last in range(200)]
    for address in addresses:
        asking.cluster.deliver(pod(f"a-{address}", address), pod(f"b-{address}", address))
    answers = await asyncio.gather(*(asking.lookup.answer(address, deadline=1) for address in addresses))
    assert len(asking.cluster.api.reads) == 64
    reasons = [getattr(answer, "reason", None) for answer in answers]
    assert reasons.count(Reason.UNCONFIRMED) == 200 - 32
