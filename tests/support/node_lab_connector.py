"""A program that connects to one address as often as it can, and counts who answered. For tests that look for leaks.

Runs in a pod's namespace: `node_lab_connector.py ADDRESS PORT AT_ONCE ATTEMPTS SECONDS TIMEOUT`. It ends after so many
attempts, after so many seconds, or when its standard input is closed; every 50 ms and at its end it writes the counts
so far as one line of JSON. Needs nothing but Python's library, so that it starts in 30 ms.
"""

import errno
import json
import select
import socket
import struct
import sys
import time
from collections import Counter, deque

_REPORT_SECONDS = 0.05
# Closing resets: no port stays in TIME_WAIT, of which there are only 28,000.
_NO_LINGER = struct.pack("ii", 1, 0)


class Connector:
    """All attempts of one run."""

    def __init__(self, address: str, port: int, *, at_once: int, attempts: int, seconds: float, timeout: float) -> None:
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._target = (address, port)
        self._at_once = at_once
        self._left = attempts
        self._end = time.monotonic() + seconds
        self._timeout = timeout
        self._poll = select.epoll()
        self._stdin = sys.stdin.fileno()
        self._open: dict[int, tuple[socket.socket, float]] = {}
        self._deadlines: deque[tuple[float, int, socket.socket]] = deque()
        self._answers: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._slowest = 0.0
        self._next_report = 0.0

    def run(self) -> None:
        """Connect until the end, then wait for what is still open."""
        self._poll.register(self._stdin, select.EPOLLIN | select.EPOLLHUP)
        while self._left or self._open:
            now = time.monotonic()
            if now > self._end:
                self._left = 0
            while self._left and len(self._open) < self._at_once:
                self._left -= 1
                self._start(now)
            for file, _ in self._poll.poll(self._timeout / 4):
                if file == self._stdin:
                    self._left = 0
                    self._poll.unregister(self._stdin)
                else:
                    self._finish(file)
            self._expire()
            self._report()
        self._write_report()

    def _start(self, now: float) -> None:
        attempt = socket.socket(self._family)
        attempt.setblocking(False)
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        error = attempt.connect_ex(self._target)
        if error not in (0, errno.EINPROGRESS):
            attempt.close()
            self._failures[errno.errorcode[error]] += 1
            return
        file = attempt.fileno()
        self._open[file] = attempt, now
        self._deadlines.append((now + self._timeout, file, attempt))
        self._poll.register(file, select.EPOLLIN)  # the answer, or any error

    def _finish(self, file: int) -> None:
        attempt, began = self._open.pop(file)
        try:
            answer = attempt.recv(200)
        except OSError as error:
            self._failures[errno.errorcode[error.errno or errno.EIO]] += 1
        else:
            self._answers[answer.split(b" ")[0].decode()] += 1
        attempt.close()
        self._slowest = max(self._slowest, time.monotonic() - began)

    def _expire(self) -> None:
        now = time.monotonic()
        while self._deadlines and (self._deadlines[0][2].fileno() < 0 or self._deadlines[0][0] < now):
            _, file, attempt = self._deadlines.popleft()
            if attempt.fileno() >= 0:
                del self._open[file]
                attempt.close()
                self._failures["silence"] += 1

    def _report(self) -> None:
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + _REPORT_SECONDS
            self._write_report()

    def _write_report(self) -> None:
        report = {"answers": self._answers, "failures": self._failures, "slowest": self._slowest}
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _address, _port, _at_once, _attempts, _seconds, _timeout = sys.argv[1:]
    Connector(
        _address,
        int(_port),
        at_once=int(_at_once),
        attempts=int(_attempts),
        seconds=float(_seconds),
        timeout=float(_timeout),
    ).run()
