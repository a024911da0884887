"""Builds images without a container engine: carries out a Dockerfile's instructions in overlays, with chroot.

A base image is Debian's own bootstrap of that release, which is what the official image is made of. Layers are kept
from run to run as long as nothing of a stage's folders is in them; the rest is built anew each time.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.support.dockerfile import Ignored, Instruction, read_dockerfile
from tests.support.image import Image, overlay

_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")  # a machine's own way to the registries may need them
_FROM_OUTSIDE = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX")


def images_obstacle() -> str | None:
    """What stands in the way of building images, with its remedy, in one line; or nothing."""
    if os.geteuid() != 0:
        return "only root can make a root file system"
    if shutil.which("debootstrap") is None:
        return "there is no debootstrap (install Debian's debootstrap)"
    return None


class ImageBuilder:
    """Builds from one context; `folder` holds what is built, `kept` what later runs can use."""

    def __init__(self, context: Path, *, folder: Path, kept: Path) -> None:
        self._context = context
        self._ignored = Ignored.read(context / ".dockerignore")
        self._folder = folder
        self._kept = kept
        self._layers = 0

    def build(self, dockerfile: Path) -> Image:
        """The image of the last stage. Raises `RuntimeError` with what a command has said that failed."""
        stages: dict[str, Image] = {}
        with self._alone():
            for stage in read_dockerfile(dockerfile):
                image = stages.get(stage.base) or Image(layers=(self._bootstrap(stage.base),))
                keep = True
                for instruction in stage.instructions:
                    image = _configured(image, instruction)
                    if instruction.name in ("COPY", "RUN", "WORKDIR"):
                        keep = keep and self._depends_on_files_only(instruction)
                        image = self._with_layer(image, instruction, stages, keep=keep)
                stages[stage.name] = image
        return image

    def _depends_on_files_only(self, instruction: Instruction) -> bool:
        if instruction.name != "COPY":
            return True
        return not instruction.flags and all((self._context / source).is_file() for source in instruction.words[:-1])

    def _with_layer(self, image: Image, instruction: Instruction, stages: Mapping[str, Image], *, keep: bool) -> Image:
        self._layers += 1
        layer = self._kept / self._key(image, instruction) if keep else self._folder / f"layer-{self._layers}"
        if not layer.exists():
            fresh = self._fresh()
            if instruction.name == "RUN":
                self._run(image, instruction, fresh)
            elif instruction.name == "COPY":
                self._copy(image, instruction, stages, fresh)
            else:
                (fresh / instruction.text.strip("/")).mkdir(parents=True)
            shutil.move(fresh, layer)
        return replace(image, layers=(*image.layers, layer))

    def _key(self, image: Image, instruction: Instruction) -> str:
        """Of what a kept layer depends on: all before it, the instruction, and the files that it copies."""
        key = hashlib.sha256(f"{image.layers[-1].name} {sorted(image.environment.items())} {instruction}".encode())
        for source in instruction.words[:-1] if instruction.name == "COPY" else ():
            key.update((self._context / source).read_bytes())
        return key.hexdigest()[:16]

    def _bootstrap(self, name: str) -> Path:
        release = name.removeprefix("debian:").removesuffix("-slim")
        layer = self._kept / f"debian-{release}"
        if not layer.exists():
            fresh = self._fresh()
            _checked("debootstrap", "--variant=minbase", release, str(fresh))
            for left in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc"):
                shutil.rmtree(fresh / left, ignore_errors=True)
            fresh.rename(layer)
        return layer

    def _run(self, image: Image, instruction: Instruction, fresh: Path) -> None:
        root, work = self._empty("root"), self._empty("work")
        script = ["set -e", overlay(image, root, upper=fresh, work=work)]
        for target in map(_cache_mount, instruction.flags):
            kept = self._kept / "mounts" / target.strip("/").replace("/", "-")
            kept.mkdir(parents=True, exist_ok=True)
            script += [f"mkdir -p {root}{target}", f"mount --bind {kept} {root}{target}"]
        script += [
            f"mount -t proc proc {root}/proc",
            f"mount --bind /etc/resolv.conf {root}/etc/resolv.conf",
            f"mount -t tmpfs tmpfs {root}/run",
            f"cp {_AUTHORITIES} {root}/run/authorities.pem",
            f"exec chroot {root} /bin/sh -c " + shlex.quote(f"cd {image.working_directory} && {instruction.text}"),
        ]
        outside = {name: os.environ[name] for name in _FROM_OUTSIDE if name in os.environ}
        authorities = {"SSL_CERT_FILE": "/run/authorities.pem", "PIP_CERT": "/run/authorities.pem"}
        environment = {**outside, **authorities, **image.environment}
        _checked("unshare", "--mount", "--pid", "--fork", "sh", "-c", "\n".join(script), environment=environment)

    def _copy(self, image: Image, instruction: Instruction, stages: Mapping[str, Image], fresh: Path) -> None:
        *sources, destination = instruction.words
        target = fresh / os.path.normpath(f"{image.working_directory}/{destination}").strip("/")
        if destination.startswith("/"):
            target = fresh / destination.strip("/")
        for source in sources:
            into = target / Path(source).name if destination.endswith("/") else target
            into.parent.mkdir(parents=True, exist_ok=True)
            if instruction.flags:
                stage = stages[instruction.flags[0].removeprefix("from=")]
                _checked("cp", "--archive", str(stage.layers[-1] / source.strip("/")), str(into))
            else:
                self._copy_from_context(Path(source), into)

    def _copy_from_context(self, source: Path, target: Path) -> None:
        if source in self._ignored:
            raise FileNotFoundError(f"{source} is kept out by .dockerignore")
        if (self._context / source).is_file():
            shutil.copy2(self._context / source, target)
            return
        for path in sorted((self._context / source).rglob("*")):
            inside = path.relative_to(self._context)
            if inside not in self._ignored and path.is_file():
                there = target / inside.relative_to(source)
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, there)

    def _fresh(self) -> Path:
        """Where a layer is made before it gets its name; beside those that are kept, so that it can be moved."""
        return self._empty("fresh")

    def _empty(self, name: str) -> Path:
        path = self._kept / f".{name}"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """What is kept has one user at a time."""
        self._kept.mkdir(parents=True, exist_ok=True)
        with (self._kept / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _configured(image: Image, instruction: Instruction) -> Image:
    """The image with what an instruction says of its containers; as it was, if it says nothing of them."""
    match instruction.name:
        case "ARG" | "ENV":
            return replace(image, environment={**image.environment, **instruction.pairs})
        case "LABEL":
            return replace(image, labels={**image.labels, **instruction.pairs})
        case "USER":
            return replace(image, user=instruction.text)
        case "WORKDIR":
            return replace(image, working_directory=instruction.text)
        case "ENTRYPOINT":
            return replace(image, entrypoint=tuple(instruction.words))
        case "CMD":
            return replace(image, command=tuple(instruction.words))
    return image


def _cache_mount(flag: str) -> str:
    kind, _, target = flag.removeprefix("mount=").partition(",")
    if kind != "type=cache" or not target.startswith("target="):
        raise NotImplementedError(flag)
    return target.removeprefix("target=")


def _checked(*command: str, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env={**(environment or os.environ)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}:\n{done.stdout.decode(errors='replace')[-4000:]}")
