"""Token buckets: a rate, a burst, and nobody's share taken by others."""

import asyncio

import pytest

from iam4kube.runtime.limits import KeyedBuckets, TokenBucket

pytestmark = pytest.mark.looptime


def taken(bucket: TokenBucket, tries: int) -> int:
    """How many of so many tries get a token."""
    return sum(bucket.try_take() for _ in range(tries))


async def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    """Full at the start; ten a second later on, at exact times."""
    bucket = TokenBucket(rate=10, burst=20)
    assert taken(bucket, 100) == 20
    for _ in range(1000):
        await asyncio.sleep(0.1)
        assert taken(bucket, 5) == 1


async def test_a_bucket_saves_up_no_more_than_its_burst() -> None:
    """A quiet hour allows no flood."""
    bucket = TokenBucket(rate=10, burst=20)
    taken(bucket, 20)
    await asyncio.sleep(3600)
    assert taken(bucket, 100) == 20


async def test_a_try_that_fails_takes_nothing() -> None:
    """Asking in a loop does not delay the next token."""
    bucket = TokenBucket(rate=1, burst=2)
    assert bucket.try_take(2)
    await asyncio.sleep(1.5)
    assert not bucket.try_take(2)
    assert bucket.try_take()
    assert not bucket.try_take()


async def test_one_key_takes_nothing_from_another() -> None:
    """A namespace that patches in a loop leaves the others their tokens."""
    buckets = KeyedBuckets(rate=1, burst=3)
    assert sum(buckets.try_take("greedy") for _ in range(1000)) == 3
    assert [buckets.try_take("modest") for _ in range(4)] == [True, True, True, False]
    await asyncio.sleep(1)
    assert buckets.try_take("greedy")


async def test_keys_are_bounded_and_the_longest_unused_goes() -> None:
    """However many keys come by, those in use keep their count."""
    buckets = KeyedBuckets(rate=0, burst=1, keys=10)
    assert buckets.try_take("in use")
    for number in range(1000):
        assert buckets.try_take(number)
        assert not buckets.try_take("in use")
    assert len(buckets) == 10
