"""What images are here: programs of this machine. And a container's command line and environment from its pod."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import node_agent_volumes as volumes
from tests.support.node_agent_api import Object

_KEPT = ("HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV")
_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


@dataclass(frozen=True, kw_only=True)
class Image:
    """A program instead of an image."""

    entrypoint: tuple[str, ...] = ()
    more_arguments: tuple[str, ...] = ()
    """After the container's own."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Like an image's ENV."""


class Images:
    """Images by `name:tag`; or by `name`, then for every other tag."""

    def __init__(self, images: Mapping[str, Image]) -> None:
        self._images = dict(images)

    def __getitem__(self, reference: str) -> Image:
        """Raises `KeyError` for an image that nobody has."""
        return self._images.get(reference) or self._images[reference.rpartition(":")[0] or reference]


def command_line(image: Image, container: Object, environment: Mapping[str, str]) -> list[str]:
    """The process to start: `command` replaces the image's entry point, `args` follow."""
    given = [_expanded(word, environment) for word in (*container.get("command", ()), *container.get("args", ()))]
    entrypoint = () if container.get("command") else image.entrypoint
    return [*entrypoint, *given, *image.more_arguments]


def environment_of(image: Image, container: Object, pod: Object, *, api_server: tuple[str, int]) -> dict[str, str]:
    """What the process finds in its environment: the image's, the kubelet's, the container's own."""
    found = {name: os.environ[name] for name in _KEPT if name in os.environ}
    found["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found |= image.environment
    found |= {"KUBERNETES_SERVICE_HOST": api_server[0], "KUBERNETES_SERVICE_PORT": str(api_server[1])}
    found["HOSTNAME"] = pod["metadata"]["name"]
    for variable in container.get("env", ()):
        found[variable["name"]] = _expanded(_value(variable, pod), found)
    return found


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda match: environment.get(match[1], match[0]), text)


def _value(variable: Object, pod: Object) -> str:
    match variable:
        case {"valueFrom": {"fieldRef": {"fieldPath": path}}}:
            return volumes.field(pod, path)
        case {"valueFrom": source}:
            raise NotImplementedError(f"environment from {source}")
    return str(variable.get("value", ""))


def confining(container: Object) -> tuple[str, ...]:
    """The command line that runs another one with a container's capabilities only. Its user stays this process'."""
    capabilities = container.get("securityContext", {}).get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()):
        return ()
    kept = ",".join(["-all", *(f"+{name.lower()}" for name in capabilities.get("add", ()))])
    return ("setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}", "--no-new-privs")
