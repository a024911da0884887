"""What runs in a client pod: asks the metadata service as SDKs do, and writes a line about each request.

    python -P upgrade_client.py SECONDS_BETWEEN_CALLS SECONDS_BETWEEN_KEPT

A call is what an SDK does for credentials: a token, the role, its credentials, each with a connection of its own.
Beside it one connection is kept and asked again and again; where the server has closed it while a request was on its
way, the request is sent once more, as SDKs do. Needs nothing but Python's library.

A line: what was asked, when (monotonic seconds), how long it took in seconds, and `ok` or what went wrong.
"""

import http.client
import json
import random
import sys
import threading
import time
from collections.abc import Callable

_ADDRESS = "169.254.169.254"
_ROLES = "/latest/meta-data/iam/security-credentials/"
_TTL = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
_TIMEOUT = 5.0  # SDKs give up after 1 s; what is slower is to be seen, not hidden
_writing = threading.Lock()


class Failed(Exception):
    """There was an answer, and not the right one."""


class Asker:
    """Sends requests, each with a new connection, or all with one that is kept."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._connection = http.client.HTTPConnection(_ADDRESS, timeout=_TIMEOUT)
        self._used = False

    def ask(self, what: str, method: str, path: str, headers: dict[str, str]) -> str:
        """Ask, write down what came of it, and return the answer. Raises `Failed` or `OSError`."""
        began = time.monotonic()
        outcome = "ok"
        try:
            try:
                answer = self._exchange(method, path, headers)
            except (http.client.RemoteDisconnected, ConnectionError):
                if not self._used:
                    raise
                outcome = "retried"
                self._close()
                answer = self._exchange(method, path, headers)
        except (OSError, http.client.HTTPException, Failed) as error:
            outcome = f"{type(error).__name__}:{error}".replace(" ", "_")
            self._close()
            raise Failed(outcome) from error
        finally:
            write(what, began, outcome)
        return answer

    def _exchange(self, method: str, path: str, headers: dict[str, str]) -> str:
        self._connection.request(method, path, headers=headers)
        response = self._connection.getresponse()
        answer = response.read().decode()
        # http.client has closed it itself when the answer said so, and opens another for the next request.
        self._used = self._keep and not response.will_close
        if not self._keep:
            self._connection.close()
        if response.status != 200:
            raise Failed(f"status {response.status}")
        return answer

    def _close(self) -> None:
        self._connection.close()
        self._used = False


def write(what: str, began: float, outcome: str) -> None:
    """Write a line."""
    line = f"{what} {began:.4f} {time.monotonic() - began:.4f} {outcome}\n"
    with _writing:
        sys.stdout.write(line)
        sys.stdout.flush()


def call(asker: Asker) -> None:
    """What an SDK does for credentials."""
    token = asker.ask("token", "PUT", "/latest/api/token", _TTL)
    headers = {"X-aws-ec2-metadata-token": token}
    role = asker.ask("role", "GET", _ROLES, headers)
    document = asker.ask("credentials", "GET", _ROLES + role, headers)
    if json.loads(document)["Code"] != "Success":
        raise Failed(document)


def repeat(function: Callable[[], None], *, every: float) -> None:
    """Call it so often, for ever, from a random moment on."""
    due = time.monotonic() + random.uniform(0, every)  # no secret
    while True:
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + every, time.monotonic())
        try:
            function()
        except Failed:  # written down
            continue


def main() -> None:
    """Ask until the process is ended."""
    between_calls, between_kept = map(float, sys.argv[1:])
    kept = Asker(keep=True)
    asking = threading.Thread(
        target=repeat, args=(lambda: kept.ask("kept", "GET", _ROLES, {}) and None,), kwargs={"every": between_kept}
    )
    asking.daemon = True
    asking.start()
    repeat(lambda: call(Asker(keep=False)), every=between_calls)


if __name__ == "__main__":
    main()
