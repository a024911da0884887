"""Correlation of events: which occurrences are sent, on a clock that the tests turn."""

from datetime import UTC, datetime

import pytest

from iam4kube.kube.correlation import (
    REMEMBERED,
    Correlator,
    ObjectReference,
    Occurrence,
    event_name,
    shortened,
)

pytestmark = pytest.mark.looptime


class Clock:
    """Seconds, turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def about(name: str = "web") -> ObjectReference:
    """A pod."""
    return ObjectReference(kind="Pod", namespace="shop", name=name, uid=f"uid-{name}")


def happened(message: str, *, name: str = "web", reason: str = "NoRole") -> Occurrence:
    """An occurrence."""
    at = datetime(2026, 11, 20, tzinfo=UTC)
    return Occurrence(regarding=about(name), type="Warning", reason=reason, message=message, at=at)


async def test_repetitions_share_one_event() -> None:
    """The same message about the same object raises the count of one name."""
    correlator = Correlator(Clock())
    first, second = correlator.correlate(happened("a")), correlator.correlate(happened("a"))
    assert first is not None
    assert first is second
    assert first.count == 2


async def test_objects_and_reasons_stay_apart() -> None:
    """Another object or another reason is another event."""
    correlator = Correlator(Clock())
    records = [
        correlator.correlate(happened("a")),
        correlator.correlate(happened("a", name="other")),
        correlator.correlate(happened("a", reason="InvalidRole")),
    ]
    assert [record.count for record in records if record is not None] == [1, 1, 1]


async def test_ten_different_messages_become_one() -> None:
    """The tenth different message of one reason is combined with all that follow."""
    correlator = Correlator(Clock())
    records = [correlator.correlate(happened(f"message {number}")) for number in range(12)]
    names = [record.name for record in records if record is not None]
    assert len(set(names[:9])) == 9
    assert len(set(names[9:])) == 1
    last = records[-1]
    assert last is not None
    assert (last.message, last.count) == ("(combined from similar events): message 11", 3)


async def test_a_quiet_time_ends_the_combining() -> None:
    """More than ten minutes without anything similar, and messages are events of their own again."""
    clock = Clock()
    correlator = Correlator(clock)
    for number in range(10):
        correlator.correlate(happened(f"message {number}"))
    clock.now = 601
    record = correlator.correlate(happened("message 10"))
    assert record is not None
    assert record.message == "message 10"


async def test_memory_is_bounded() -> None:
    """What has not happened for long is forgotten: its next occurrence is a first one."""
    correlator = Correlator(Clock())
    for number in range(REMEMBERED + 1):
        correlator.correlate(happened("a", name=f"pod-{number}"))
    forgotten, remembered = (correlator.correlate(happened("a", name=f"pod-{number}")) for number in (0, REMEMBERED))
    assert forgotten is not None
    assert remembered is not None
    assert (forgotten.count, remembered.count) == (1, 2)


@pytest.mark.parametrize("message", ["x" * 3000, "ä" * 1500, "€" * 700 + "end"])
def test_long_messages_lose_their_middle(message: str) -> None:
    """At most 1024 bytes, both ends kept, no character cut in two."""
    short = shortened(message)
    assert len(short.encode()) <= 1024
    assert "…" in short
    assert (short[0], short[-1]) == (message[0], message[-1])


def test_a_short_message_is_left_alone() -> None:
    """1024 bytes fit."""
    assert shortened("x" * 1024) == "x" * 1024


def test_names_are_names() -> None:
    """An event's name is unique and a DNS name of at most 253 characters, also for the longest pod name."""
    long = about("a" * 235 + "-" + "b" * 17)
    name = event_name(long)
    assert len(name) <= 253
    assert not name.startswith("a" * 235 + "-.")
    assert event_name(about()) != event_name(about())
