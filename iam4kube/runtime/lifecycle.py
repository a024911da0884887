"""Start and stop of one process: the loop, the signals, and an ordered stop whose every step is bounded."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import uvloop

from iam4kube.runtime.endings import end_at_once

logger = logging.getLogger(__name__)

T = TypeVar("T")

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_REST_BOUND = 0.9
"""Seconds for what is left after a program's own stop steps. With the router's one step its stop takes under two."""
_left_open: Final[list[asyncio.Runner]] = []
"""Loops that must not be collected while they are open."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program's main coroutine on uvloop, and return what it returns."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def run_last(main: Coroutine[Any, Any, T]) -> T:
    """As `run`, for a process that ends afterwards by `endings.run_process`: the loop stays open.

    To close it waits for the threads of its executor and for look-ups of names that are under way (uvloop's `_close`
    runs the loop until there are none), and nothing bounds these.
    """
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    _left_open.append(runner)
    return runner.run(main)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """Yield an event that the first SIGTERM or SIGINT sets.

    A second signal ends the process at once, with the usual exit code 128 + signal, even when the event loop
    is stuck. It has to be a handler of ours: for process 1 of a container the kernel ignores a signal that
    has its default action.
    """
    requested = asyncio.Event()
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in _STOP_SIGNALS}

    def request(received: signal.Signals) -> None:
        if requested.is_set():  # came between the first one and the handlers below
            end_at_once(received, None)
        for each in _STOP_SIGNALS:  # in place of the loop's: removing those would drop a signal under way
            signal.signal(each, end_at_once)
        requested.set()
        logger.info("Stop requested", extra={"signal": received.name})

    for each in _STOP_SIGNALS:
        loop.add_signal_handler(each, request, each)
    try:
        yield requested
    finally:
        for each, handler in before.items():
            loop.remove_signal_handler(each)
            signal.signal(each, handler)


@dataclass(frozen=True)
class StopStep:
    """One step of an ordered stop."""

    name: str
    action: Callable[[], Awaitable[object]]
    bound: float
    """Seconds after which the step is cancelled and the next one begins."""


async def run_until(stop: asyncio.Event, program: AbstractAsyncContextManager[Sequence[StopStep]]) -> None:
    """Enter the program, which starts it and tells its stop steps; at the stop run these, and leave the program.

    A stop that comes while the program still starts cancels the start: that may wait minutes for something. Leaving
    is a step, too, with a bound; what has not ended by then ends with the process. Raises what the program raises
    before the stop or during its own steps.
    """
    steps: list[StopStep] = []
    living = asyncio.create_task(_live(program, steps), name="program")
    stopping = asyncio.create_task(_stop(stop, steps), name="stop")
    try:
        done, _ = await asyncio.wait([living, stopping], return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
        await run_stop_steps([StopStep("the rest", lambda: _leave(living), _REST_BOUND)])
    finally:
        living.cancel()
        stopping.cancel()


async def _live(program: AbstractAsyncContextManager[Sequence[StopStep]], steps: list[StopStep]) -> None:
    async with program as its_steps:
        steps.extend(its_steps)
        await asyncio.Event().wait()  # until it is cancelled


async def _stop(stop: asyncio.Event, steps: Sequence[StopStep]) -> None:
    """There are no steps yet while the program starts: nothing is served, so nothing has to be drained."""
    await stop.wait()
    await run_stop_steps(steps)


async def _leave(living: "asyncio.Task[None]") -> None:
    living.cancel()
    await asyncio.wait([living])
    if not living.cancelled():
        living.result()


async def run_stop_steps(steps: Sequence[StopStep]) -> None:
    """Run the steps in order. None of them can keep the later ones from running; each is logged with its duration.

    The sum of the bounds has to stay below the pod's `terminationGracePeriodSeconds`.
    """
    loop = asyncio.get_running_loop()
    for step in steps:
        started = loop.time()
        level, outcome = await _run_step(step)
        seconds = round(loop.time() - started, 3)
        logger.log(level, "Stop step ended", extra={"step": step.name, "outcome": outcome, "seconds": seconds})


async def _run_step(step: StopStep) -> tuple[int, str]:
    deadline = asyncio.timeout(step.bound)
    try:
        async with deadline:
            await step.action()
    except Exception:  # a step that fails must not keep the later ones from running
        if deadline.expired():
            return logging.WARNING, "cancelled at its bound"
        logger.exception("Stop step failed", extra={"step": step.name})
        return logging.ERROR, "failed"
    return logging.INFO, "done"
