"""How a process of ours begins and ends. Imports next to nothing: it is there before everything else is imported."""

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

_EXIT_FAILED = 1


def end_at_once(received: int, _frame: FrameType | None) -> NoReturn:
    """A signal's handler: end with the exit code by which supervisors know a signal, 128 and its number."""
    os._exit(128 + received)


def run_process(command: Callable[[], int]) -> NoReturn:
    """Run the command as all that this process does, and end with its exit code.

    Until the command has a handler of its own SIGTERM ends the process at once, with 143. For process 1 of a
    container, which ours is, the kernel drops a signal that has its default action (pid_namespaces(7)), and the
    imports take a second on a small machine. It is not 0: nothing has been done yet, and a Job's pod that is
    evicted then must not count as done.
    """
    signal.signal(signal.SIGTERM, end_at_once)
    try:
        code = command()
    except Exception:  # noqa: BLE001  # a defect: shown as the interpreter would show it
        sys.excepthook(*sys.exc_info())
        code = _EXIT_FAILED
    _end(code)


def _end(code: int) -> NoReturn:
    """End without waiting for threads. What the interpreter does at its end is done, but for the joining.

    The interpreter would join the threads of each executor (`concurrent.futures.thread`), and a call to STS or to
    the instance metadata whose answer trickles in, or that looks up a name, ends when it likes. Daemon threads would
    not be joined, but they run on in OpenSSL while that cleans up at exit, and may crash the process instead.
    """
    # The kubernetes client's removes client keys from the temporary folder.
    atexit._run_exitfuncs()  # noqa: SLF001  # nothing else runs them before `os._exit`
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
            stream.flush()
    os._exit(code)
