"""Network configuration as lines of `ip`: what everybody reads, and one process for all lines of a namespace."""

import subprocess

from iam4kube.sandbox.network.namespace import Namespace

_IP = ("ip", "-batch", "-")
_SECONDS = 10.0  # a batch takes 2 ms


class NetworkCommandFailed(Exception):
    """`ip` refused a line; the message has what it said and the lines."""


def configure(namespace: Namespace, *lines: str) -> None:
    """Run lines such as `link set lo up` inside, up to the first that fails. Raises `NetworkCommandFailed`."""
    text = "\n".join(lines) + "\n"
    batch = namespace.run(
        lambda: subprocess.run(_IP, check=False, input=text, capture_output=True, text=True, timeout=_SECONDS)
    )
    if batch.returncode != 0:
        raise NetworkCommandFailed(f"{batch.stderr.strip()}\n{text}")
