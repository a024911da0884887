"""The garbage collector does not walk what lives as long as the process."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from iam4kube.runtime.garbage import PERIOD, freeze_until


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


class Cycle:
    """What only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.looptime
async def test_tables_that_fill_are_left_out_of_collections() -> None:
    """Objects made before and while the tables fill are frozen; those made afterwards are collected as ever."""
    settled = False
    task = asyncio.create_task(freeze_until(lambda: settled))
    await asyncio.sleep(PERIOD / 2)
    table = [[number] for number in range(1000)]
    settled = True
    await asyncio.sleep(PERIOD)
    later = [[number] for number in range(1000)]
    walked = {id(each) for each in gc.get_objects()}
    task.cancel()
    assert not walked & {id(each) for each in table}
    assert walked >= {id(each) for each in later}


@pytest.mark.looptime
async def test_garbage_is_not_frozen_while_tables_do_not_settle() -> None:
    """With the API server down for days, failed calls leave nothing behind: neither those between two freezes nor
    those under way at one.
    """
    gc.disable()
    task = asyncio.create_task(freeze_until(lambda: False))
    await asyncio.sleep(PERIOD / 2)
    between, under_way = Cycle(), Cycle()
    failed = weakref.ref(between), weakref.ref(under_way)
    del between
    await asyncio.sleep(PERIOD)
    assert failed[0]() is None
    del under_way
    await asyncio.sleep(60)
    task.cancel()
    assert failed[1]() is None
