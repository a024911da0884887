"""Signals, on a process of their own: the first asks to stop, the second does not ask."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = """
import asyncio, sys, time
from iam4kube.runtime.lifecycle import StopStep, run, run_stop_steps, stop_on_signals

async def main(stuck):
    with stop_on_signals() as requested:
        print("ready", flush=True)
        await requested.wait()
        print("stopping", flush=True)
        if stuck == "loop":
            time.sleep(60)
        if stuck == "step":
            await asyncio.sleep(60)
        await run_stop_steps([StopStep("close", lambda: asyncio.sleep(0), bound=1)])
    print("stopped", flush=True)
    return 7

sys.exit(run(main(sys.argv[1])))
"""

SECOND_WITH_THE_LOG_LINE = """
import logging, os, signal

class Impatient(logging.Handler):
    def emit(self, record):
        if record.getMessage() == "Stop requested":
            os.kill(os.getpid(), signal.SIGTERM)

logging.basicConfig(level="INFO", handlers=[Impatient()])
"""


@contextmanager
def program(stuck: str = "", *, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """The program, once it is ready for signals."""
    with subprocess.Popen(
        [sys.executable, "-c", before + PROGRAM, stuck], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert line(process) == "ready"
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_begins_an_ordered_stop(first: signal.Signals) -> None:
    """And the process ends with the exit code that its main function chose."""
    with program() as process:
        process.send_signal(first)
        assert line(process) == "stopping"
        assert line(process) == "stopped"
        assert process.wait(5) == 7


@pytest.mark.parametrize("stuck", ["step", "loop"])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_forces_even_where_the_event_loop_is_stuck(stuck: str, second: signal.Signals) -> None:
    """With the exit code by which supervisors know a signal: 128 and its number."""
    with program(stuck) as process:
        process.send_signal(signal.SIGTERM)
        assert line(process) == "stopping"
        process.send_signal(second)
        assert process.wait(5) == 128 + second


def test_a_second_signal_counts_however_soon_it_comes() -> None:
    """Even while the first one is still being taken in: here it comes with the log line about it."""
    with program(before=SECOND_WITH_THE_LOG_LINE) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 128 + signal.SIGTERM
