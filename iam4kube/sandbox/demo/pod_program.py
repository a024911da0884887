"""What runs in a pod of the demo: boto3 as it comes, which has been told nothing about iam4kube.

A question is one line on standard input:

    identity   what sts:GetCallerIdentity says, with the credentials that a new session finds; null without any
    token      get a token from the metadata service, and keep it
    role       the name of the role, asked for with the kept token

The answer is lines of JSON on standard output: `asked` and `answered`, when the metadata service was (the machine's
monotonic clock, in seconds), then `result` or `error`. Runs as a file of its own and imports nothing of this project.
"""

import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import TypeVar

import boto3

_METADATA = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
_ROLES = "/latest/meta-data/iam/security-credentials/"
_TIMEOUT = 5.0  # seconds, for the kept token; boto3 keeps to its own, which is 1 s

T = TypeVar("T")
_kept: dict[str, str] = {}


def _identity() -> str | None:
    session = boto3.Session()
    if _timed(session.get_credentials) is None:
        return None
    arn: str = session.client("sts").get_caller_identity()["Arn"]
    return arn


def _keep_token() -> None:
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
    _kept["X-aws-ec2-metadata-token"] = _timed(lambda: _http("PUT", "/latest/api/token", ttl))


def _role() -> str:
    return _timed(lambda: _http("GET", _ROLES, _kept))


def _timed(ask: Callable[[], T]) -> T:
    _say({"asked": time.monotonic()})
    try:
        return ask()
    finally:
        _say({"answered": time.monotonic()})


def _http(method: str, path: str, headers: dict[str, str]) -> str:
    request = urllib.request.Request(_METADATA + path, method=method, headers=headers)  # noqa: S310  # the demo's own
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310  # the demo's own
        text: str = response.read().decode()
    return text


def _say(told: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


_QUESTIONS: dict[str, Callable[[], str | None]] = {"identity": _identity, "token": _keep_token, "role": _role}


def main() -> None:
    """Answer questions until standard input ends, or Ctrl-C ends the demo with all its processes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for line in sys.stdin:
        try:
            _say({"result": _QUESTIONS[line.strip()]()})
        except Exception as error:  # noqa: BLE001  # whatever an SDK raises is the answer
            _say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
