"""Start and stop of one process: the loop, the signals, and an ordered stop whose every step is bounded."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn, TypeVar

import uvloop

logger = logging.getLogger(__name__)

T = TypeVar("T")

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program's main coroutine on uvloop, and return what it returns."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
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
            _exit_at_once(received, None)
        for each in _STOP_SIGNALS:  # in place of the loop's: removing those would drop a signal under way
            signal.signal(each, _exit_at_once)
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


def _exit_at_once(received: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + received)


@dataclass(frozen=True)
class StopStep:
    """One step of an ordered stop."""

    name: str
    action: Callable[[], Awaitable[object]]
    bound: float
    """Seconds after which the step is cancelled and the next one begins."""


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
