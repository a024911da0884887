"""What runs in a pod of the demo: boto3 as it comes, which has been told nothing about iam4kube.

The only argument is where the emulated STS is. A question is one line on standard input:

    identity           what sts:GetCallerIdentity says, with the credentials that a new session finds; null without any
    token              get a token from the metadata service, and keep it
    role               the name of the role, asked for with the kept token
    tcp ADDRESS PORT   "answered" or "refused": whether somebody takes connections there
    udp ADDRESS PORT   the same for a datagram

The answer is lines of JSON on standard output: `asked` and `answered`, when the metadata service was (the machine's
monotonic clock, in seconds), then `result` or `error`. Runs as a file of its own and imports nothing of this project.
"""

import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import TypeVar

import boto3

_METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")
_ROLES = "/latest/meta-data/iam/security-credentials/"
_TIMEOUT = 5.0  # seconds, for all but boto3, which keeps to its own of 1 s
_REGION = "eu-central-1"

T = TypeVar("T")
_kept: dict[str, str] = {}


def _identity() -> str | None:
    session = boto3.Session()
    if _timed(session.get_credentials) is None:
        return None
    sts = session.client("sts", endpoint_url=sys.argv[1], region_name=_REGION)
    arn: str = sts.get_caller_identity()["Arn"]
    return arn


def _keep_token() -> None:
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
    _kept["X-aws-ec2-metadata-token"] = _timed(lambda: _http("PUT", "/latest/api/token", ttl))


def _role() -> str:
    return _timed(lambda: _http("GET", _ROLES, _kept))


def _try_tcp(address: str, port: str) -> str:
    return _timed(lambda: _attempt(lambda: socket.create_connection((address, int(port)), _TIMEOUT).close()))


def _try_udp(address: str, port: str) -> str:
    def exchange() -> None:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(_TIMEOUT)
            asking.connect((address, int(port)))
            asking.send(b"anybody there?\n")
            asking.recv(1)

    return _timed(lambda: _attempt(exchange))


def _attempt(connect: Callable[[], None]) -> str:
    try:
        connect()
    except ConnectionRefusedError:
        return "refused"
    return "answered"


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


_QUESTIONS: dict[str, Callable[..., str | None]] = {
    "identity": _identity,
    "token": _keep_token,
    "role": _role,
    "tcp": _try_tcp,
    "udp": _try_udp,
}


def main() -> None:
    """Answer questions until standard input ends, or Ctrl-C ends the demo with all its processes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for line in sys.stdin:
        question, *arguments = line.split()
        try:
            _say({"result": _QUESTIONS[question](*arguments)})
        except Exception as error:  # noqa: BLE001  # whatever an SDK raises is the answer
            _say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
