"""One network namespace.

The kernel keeps a namespace alive for as long as something refers to it: here an open file, so nothing has to be
mounted under /run/netns and no process has to sit inside. Threads, unlike processes, enter a namespace by
themselves: a short-lived one makes a socket, or starts a process, inside. A socket stays in the namespace that it
was made in, so that one event loop can serve and connect in all of them.
"""

import ctypes
import os
import socket as sockets  # `Namespace` has a method of that name
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

Result = TypeVar("Result")

CLONE_NEWNET = 0x40000000  # linux/sched.h; `os` has these, unshare and setns from Python 3.12 on
CLONE_NEWUSER = 0x10000000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace, empty but for its loopback link. Use it with `with`, or close it.

    Raises `PermissionError` where the kernel does not let this process make one.
    """

    def __init__(self) -> None:
        self._file = _run_in_thread(_new_namespace)
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> str:
        """The file under which `nsenter`, `ip` and setns find it, for as long as it is open."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    def run(self, function: Callable[[], Result]) -> Result:
        """Call a function in a thread inside the namespace, and wait for it. What it raises is raised here."""

        def inside() -> Result:
            self.enter()
            return function()

        return _run_in_thread(inside)

    def enter(self) -> None:
        """Take the calling thread inside, for the rest of its life. Not for a thread that others use."""
        _check(_libc.setns(self._file, CLONE_NEWNET))

    def socket(self, family: int, kind: int = sockets.SOCK_STREAM, protocol: int = 0) -> sockets.socket:
        """A non-blocking socket inside. The namespace's links live until it is closed, too."""
        made = self.run(lambda: sockets.socket(family, kind, protocol))
        made.setblocking(False)
        return made

    def bound_socket(self, address: str, port: int, kind: int = sockets.SOCK_STREAM) -> sockets.socket:
        """A non-blocking socket inside with an address and a port of its own. Raises `OSError` when they are taken."""
        made = self.socket(sockets.AF_INET6 if ":" in address else sockets.AF_INET, kind)
        try:
            made.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
            made.bind((address, port))
        except BaseException:
            made.close()
            raise
        return made

    def popen(
        self,
        arguments: Sequence[str | Path],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        environ: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process inside. It is killed when the namespace is closed, if it still runs."""
        process = self.run(lambda: subprocess.Popen(arguments, stdin=stdin, stdout=stdout, stderr=stderr, env=environ))
        self._processes.append(process)
        return process

    def command(self, *arguments: str) -> tuple[str, ...]:
        """The command line that runs another one inside, for asyncio's subprocesses."""
        return ("nsenter", f"--net={self.path}", *arguments)

    def set_parameter(self, name: str, value: int | str) -> None:
        """Set a kernel parameter below net, such as `ipv4.ip_forward`, as sysctl does."""
        # Which namespace's parameters are below /proc/sys/net depends on the thread that looks.
        path = Path("/proc/sys/net", *name.split("."))
        self.run(lambda: path.write_text(str(value)))

    def close(self) -> None:
        """Kill what `popen` started, and let go of the namespace. Idempotent."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _new_namespace() -> int:
    unshare(CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own. Raises `OSError`."""
    _check(_libc.unshare(flags))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run_in_thread(function: Callable[[], Result]) -> Result:
    """What the function returns or raises, from a thread that ends with it: so no thread is left inside."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(function).result()
