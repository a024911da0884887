"""Quotas and deadlines."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iam4kube.metadata.limits import Deadlines, Quota


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=60))
def test_a_quota_counts_what_is_in_use_and_never_more_than_its_bounds(steps: list[tuple[str, bool]]) -> None:
    """Admissions and releases in any order, against a plain list."""
    quota = Quota(total=5, per_source=3, for_newcomers=1)
    used: list[str] = []
    for source, wants in steps:
        if wants:
            room = used.count(source) < 3 and len(used) < (5 if source in used else 6)
            assert quota.admit(source) is room
            used += [source] if room else []
        elif source in used:
            quota.release(source)
            used.remove(source)
        assert len(quota) == len(used)
    for source in used:
        quota.release(source)
    assert quota._by_source == {}


@pytest.mark.looptime
async def test_deadlines_expire_in_order_and_only_for_what_was_not_done() -> None:
    """Each has its own begin; stopping one has no effect on the others."""
    loop = asyncio.get_running_loop()
    expired: list[tuple[str, float]] = []
    deadlines: Deadlines[str] = Deadlines(5.0, lambda name: expired.append((name, round(loop.time(), 3))))
    deadlines.start("first")
    await asyncio.sleep(1)
    deadlines.start("done")
    deadlines.start("second")
    deadlines.start("first")  # has begun already: begins no second time
    await asyncio.sleep(1)
    deadlines.stop("done")
    deadlines.stop("never begun")
    await asyncio.sleep(10)

    assert expired == [("first", 5.0), ("second", 6.0)]
    assert len(deadlines) == 0
    deadlines.start("later")
    await asyncio.sleep(10)
    assert expired[-1] == ("later", 17.0)


@pytest.mark.looptime
async def test_no_timer_is_left_when_nothing_has_a_deadline() -> None:
    """The one that runs for what was stopped meanwhile is the last."""
    deadlines: Deadlines[str] = Deadlines(5.0, lambda _: None)
    deadlines.start("a")
    deadlines.stop("a")
    await asyncio.sleep(6)
    assert deadlines._timer is None
