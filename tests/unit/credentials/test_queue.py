"""Where an entry belongs, and what the queue makes of it: no loop, no clock."""

import math
import random

import pytest

from iam4kube.credentials.entry import GRACE, Entry, Urgency, standing
from iam4kube.credentials.fair_queue import FairQueue
from iam4kube.credentials.fetch_queue import FetchQueue
from iam4kube.credentials.indexed_heap import IndexedHeap
from iam4kube.credentials.values import Failure, FailureKind, Fetched
from tests.support.credentials import MINUTE, TunableSource, role_key

NOW = 10_000.0


def _entry(name: str = "role", *, namespace: str = "default", sequence: int = 0, holders: int = 1) -> Entry:
    return Entry(role_key(name, namespace=namespace), namespace, sequence=sequence, churning=False, holders=holders)


def _with_credentials(name: str, *, left: float, due_since: float) -> Entry:
    entry = _entry(name)
    entry.fetched = Fetched(TunableSource().issue(entry.key, NOW), NOW + left)
    entry.refresh_at = NOW - due_since
    return entry


def _waiting(name: str, *, since: float = NOW) -> Entry:
    entry = _entry(name)
    entry.waiters, entry.waiting_since = 1, since
    return entry


def _failed(name: str, kind: FailureKind, *, retry_at: float = NOW) -> Entry:
    entry = _entry(name)
    entry.failure, entry.failures, entry.retry_at = Failure(kind, "Code", "text"), 1, retry_at
    return entry


def _in_use(name: str) -> Entry:
    entry = _entry(name)
    entry.pods = 3
    return entry


def _churning(name: str) -> Entry:
    entry = _waiting(name)
    entry.churning = True
    return entry


def _picked(queue: FetchQueue, *, retries: bool = True) -> list[str]:
    names = []
    while (entry := queue.pick(retries=retries)) is not None:
        names.append(entry.key.session_name.split("@")[1])
    return names


def test_lanes_are_emptied_in_the_order_of_the_design() -> None:
    """Waiting, (retries,) under 28 minutes left, in use, new, other refreshes; a churning namespace's last."""
    entries = [
        _churning("churning"),
        _with_credentials("due longer", left=31 * MINUTE, due_since=90),
        _with_credentials("due", left=30 * MINUTE, due_since=10),
        _entry("new"),
        _in_use("in use"),
        _with_credentials("27 minutes left", left=27 * MINUTE, due_since=1),
        _with_credentials("26 minutes left", left=26 * MINUTE, due_since=0),
        _failed("refused", FailureKind.PERMANENT),
        _waiting("waiting", since=NOW - 1),
    ]
    random.Random(3).shuffle(entries)
    queue = FetchQueue()
    for entry in entries:
        queue.place(entry, NOW)
    assert _picked(queue) == [
        "waiting", "refused", "26 minutes left", "27 minutes left", "in use", "new", "due longer", "due", "churning"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("left", "urgency"), [(28 * MINUTE + 1, Urgency.REFRESH), (28 * MINUTE - 1, Urgency.EXPIRING), (0, Urgency.NEW)]
)
def test_refresh_is_urgent_from_28_minutes_left(left: float, urgency: Urgency) -> None:
    """A due refresh changes lanes as its life runs out; expired credentials are none."""
    assert standing(_with_credentials("role", left=left, due_since=60), NOW).urgency is urgency


def test_standing_says_until_when_it_holds() -> None:
    """Due time, 28 minutes left, expiry, end of the back-off, end of the grace: the queue looks again then."""
    fresh = _with_credentials("fresh", left=35 * MINUTE, due_since=-100)
    unwanted = _entry(holders=0)
    unwanted.unwanted_since = NOW - 5
    assert standing(fresh, NOW).until == NOW + 100
    assert standing(_with_credentials("due", left=30 * MINUTE, due_since=1), NOW).until == NOW + 2 * MINUTE
    assert standing(_with_credentials("urgent", left=20 * MINUTE, due_since=1), NOW).until == NOW + 20 * MINUTE
    assert standing(_failed("failed", FailureKind.TRANSIENT, retry_at=NOW + 7), NOW).until == NOW + 7
    assert standing(unwanted, NOW) == type(standing(unwanted, NOW))(None, (), NOW - 5 + GRACE)
    assert standing(_entry(), NOW).until == math.inf


def test_a_running_entry_is_in_no_lane() -> None:
    """Single-flight: whatever happens to an entry during its call, it cannot be picked again."""
    entry = _waiting("role")
    entry.running = True
    queue = FetchQueue()
    queue.place(entry, NOW)
    assert _picked(queue) == []


def test_retries_are_left_where_they_are_when_they_may_not_go() -> None:
    """Without a token of the share nothing that failed is picked, waited for or not."""
    failed = _failed("failed", FailureKind.TRANSIENT)
    failed.waiters = 1
    queue = FetchQueue()
    queue.place(failed, NOW)
    assert not queue.has(retries=False)
    assert _picked(queue, retries=False) == []
    assert _picked(queue) == ["failed"]


def test_trouble_that_is_not_the_roles_goes_before_refusals_of_its_namespace() -> None:
    """Among one namespace's retries the role that STS never refused comes first."""
    queue = FetchQueue()
    queue.place(_failed("refused", FailureKind.PERMANENT, retry_at=NOW - 60), NOW)
    queue.place(_failed("interrupted", FailureKind.TRANSIENT, retry_at=NOW), NOW)
    assert _picked(queue) == ["interrupted", "refused"]


def test_entries_whose_time_has_come_are_moved_a_bounded_number_at_a_time() -> None:
    """Ten thousand timers at once must not block the event loop."""
    queue = FetchQueue()
    for number in range(1200):
        queue.place(_failed(f"r{number}", FailureKind.PERMANENT, retry_at=NOW + 1), NOW)
    assert [len(queue.changing(NOW + 2)) for _ in range(4)] == [500, 500, 200, 0]


def test_namespaces_take_turns_whatever_their_size() -> None:
    """One entry each, in order within a namespace; a namespace that comes later joins at the end."""
    queue = FairQueue()
    for sequence in range(3):
        queue.put(_entry(f"a{sequence}", namespace="a", sequence=sequence), (sequence,))
    queue.put(_entry("b0", namespace="b"), (0,))
    first = queue.pop()
    queue.put(_entry("c0", namespace="c"), (0,))
    rest = [queue.pop() for _ in range(4)]
    assert [entry.key.session_name for entry in (first, *rest)] == ["a@a0", "b@b0", "a@a1", "c@c0", "a@a2"]
    assert len(queue) == 0


def test_heap_agrees_with_sorting() -> None:
    """Random puts, moves and removals, against a dictionary that is sorted each time; and it stays small."""
    chance = random.Random(7)
    heap: IndexedHeap[int] = IndexedHeap()
    model: dict[int, float] = {}
    for _ in range(20_000):
        item = chance.randrange(50)
        match chance.randrange(4):
            case 0 | 1:
                model[item] = chance.random()
                heap.put(item, (model[item],))
            case 2:
                model.pop(item, None)
                heap.discard(item)
            case _ if model:
                first = min(model, key=lambda candidate: model[candidate])
                assert heap.first_order() == (model.pop(first),)
                assert heap.pop() == first
        assert len(heap) == len(model)
        assert len(heap._heap) <= 2 * 50 + 17
    assert IndexedHeap[int]().first_order() is None
