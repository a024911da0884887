"""The end of a process of ours, whatever its threads do."""

import subprocess
import sys
from pathlib import Path

BEGINNING = """
import asyncio, atexit, pathlib, sys, threading
from concurrent.futures import ThreadPoolExecutor
from iam4kube.runtime.endings import run_process
from iam4kube.runtime.lifecycle import run_last

class Defect(Exception): pass

async def leave_a_call_behind():
    begun = threading.Event()
    asyncio.get_running_loop().run_in_executor(None, lambda: (begun.set(), threading.Event().wait()))
    await asyncio.to_thread(begun.wait)
    return 7

def command():
    atexit.register(lambda: pathlib.Path(sys.argv[1]).unlink())
    print("written", end="")
"""


def ended(then: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    """A process that made a temporary file and ended."""
    temporary.touch()
    program = f"{BEGINNING}    {then}\n\nrun_process(command)\n"
    return subprocess.run(
        [sys.executable, "-c", program, str(temporary)], timeout=10, capture_output=True, text=True, check=False
    )


def test_no_thread_keeps_a_process_from_ending(tmp_path: Path) -> None:
    """What it wrote has arrived, and what it wanted to remove at its end is removed."""
    process = ended("return run_last(leave_a_call_behind())", tmp_path / "temporary")
    assert (process.returncode, process.stdout, process.stderr) == (7, "written", "")
    assert list(tmp_path.iterdir()) == []


def test_a_defect_is_shown_and_is_a_failure(tmp_path: Path) -> None:
    """As by the interpreter."""
    process = ended("raise Defect", tmp_path / "temporary")
    assert (process.returncode, process.stdout) == (1, "written")
    assert process.stderr.splitlines()[-1] == "Defect"
    assert list(tmp_path.iterdir()) == []
