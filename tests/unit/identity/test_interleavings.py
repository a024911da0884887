"""Random interleavings of a cluster's life with requests, against a model that knows who really holds what."""

import asyncio

import looptime
import pytest

from tests.support.cluster_model import Model

BATCHES = 20
PER_BATCH = 500
STEPS = 60


async def _interleaving(seed: int) -> Model:
    model = Model(seed)
    try:
        await model.start()
        for _ in range(STEPS):
            await model.step()
        await model.finish()
    finally:
        await model.stop()
    return model


@pytest.mark.timeout(300)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_wrong_pod_no_lost_wake_up_and_no_leak_in_10_000_interleavings(batch: int) -> None:
    """Whoever asks gets its own role or none, is woken when it is there, and leaves nothing behind.

    Outside the one gap that the design states: see the model. A failing seed is named and repeats exactly.
    """
    answered = roles = 0
    for seed in range(batch * PER_BATCH, (batch + 1) * PER_BATCH):
        loop = looptime.new_event_loop(noop_cycles=2)
        try:
            model = loop.run_until_complete(_interleaving(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        finally:
            asyncio.set_event_loop(None)
            loop.close()
        answered += model.answered
        roles += model.roles_answered
    # The model must not go idle: a run that answers nobody proves nothing.
    assert answered > PER_BATCH
    assert roles > PER_BATCH / 2
