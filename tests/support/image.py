"""An image as layers, and how to run a process in it: by chroot into a read-only overlay, as a container would."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True)
class Image:
    """Layers, the lowest first, and how a container starts."""

    layers: tuple[Path, ...]
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": _DEFAULT_PATH})
    user: str = ""
    working_directory: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def overlay(image: Image, root: Path, *, upper: Path | None = None, work: Path | None = None) -> str:
    """The command that mounts an image at a folder; read-only without `upper`, which takes what is written."""
    options = f"lowerdir={':'.join(map(str, reversed(image.layers)))}"
    if upper is not None:
        options += f",upperdir={upper},workdir={work}"
    return f"mount -t overlay overlay -o {shlex.quote(options)} {root}"


def command_in(image: Image, *, at: Path, shared: Path | None = None) -> tuple[str, ...]:
    """The command line that runs another one in an image; the process has its caller's network and its signals.

    Like a container with a read-only root file system, and no more than /proc. `at` is an empty folder to mount it at;
    `shared` is a folder that the process finds at /mnt. To be run with the image's environment.
    """
    script = ["set -e", overlay(image, at), f"mount -t proc proc {at}/proc"]
    if shared is not None:
        script.append(f"mount --bind -o ro {shared} {at}/mnt")
    script.append(f'exec chroot --userspec={image.user} {at} "$@"')
    return ("unshare", "--mount", "sh", "-c", "\n".join(script), "sh")
