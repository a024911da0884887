"""kubectl, with the two requests answered that only a kubelet can answer: logs and exec. Run as a program.

Pods are processes here (tests.support.node_agent), their ids are in their status, and their logs in files below
`PODS_FOLDER`. Everything else is the real kubectl's, `KUBECTL`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

_KUBECTL = os.environ["KUBECTL"]
_FOLDER = Path(os.environ["PODS_FOLDER"])


def main() -> NoReturn:
    """Answer the one or the other, or be kubectl."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["logs"]:
        sys.exit(_logs(arguments[1:]))
    if arguments[:1] == ["exec"]:
        sys.exit(_exec(arguments[1:]))
    os.execv(_KUBECTL, [_KUBECTL, *arguments])


def _logs(arguments: list[str]) -> int:
    prefixed = "--prefix" in arguments
    for pod in _pods([argument for argument in arguments if argument not in ("--prefix", "--tail=-1")]):
        metadata = pod["metadata"]
        folder = _FOLDER / pod["spec"]["nodeName"] / f"{metadata['namespace']}-{metadata['name']}"
        for line in (folder / "log").read_text().splitlines():
            sys.stdout.write(f"[pod/{metadata['name']}] {line}\n" if prefixed else f"{line}\n")
    return 0


def _exec(arguments: list[str]) -> int:
    """In the container's network and files, and with its environment."""
    separator = arguments.index("--")
    [pod] = _pods(arguments[:separator])
    pid = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("process://")
    entries = Path("/proc", pid, "environ").read_text().split("\0")
    environment = dict(entry.split("=", 1) for entry in entries if entry)
    command = ["nsenter", f"--target={pid}", "--net", "--mount", *arguments[separator + 1 :]]
    return subprocess.run(command, env=environment, check=False).returncode


def _pods(arguments: list[str]) -> list[Any]:
    """The pods that arguments name, as `kubectl get` finds them."""
    named = [argument.removeprefix("pod/") for argument in arguments]
    found = subprocess.run(
        [_KUBECTL, "get", "pods", *named, "--output=json"], stdout=subprocess.PIPE, check=True
    ).stdout
    content = json.loads(found)
    return list(content["items"]) if content["kind"] == "List" else [content]


if __name__ == "__main__":
    main()
