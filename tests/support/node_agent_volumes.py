"""A pod's volumes: folders with what Secrets, tokens and ConfigMaps say, and the mounts that show them to a process.

Processes share the machine's files, apart from what is mounted for them in a mount namespace of their own. A mount
point that is missing is made in an overlay, so nothing of it is to be seen outside.
"""

import base64
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.node_agent_api import Api, NotFound, Object


class NotThereYet(Exception):
    """A Secret or a ConfigMap, or a key of it, is missing: the pod's containers wait for it."""


async def write_volumes(api: Api, pod: Object, folder: Path) -> dict[str, Path]:
    """Make the volumes' folders; returns them by the volumes' names. Raises `NotThereYet`."""
    folders = {}
    for volume in pod["spec"].get("volumes", ()):
        path = folders[volume["name"]] = folder / volume["name"]
        path.mkdir(parents=True, exist_ok=True)
        for name, content in (await _files(api, pod, volume)).items():
            (path / name).write_bytes(content)
    return folders


async def _files(api: Api, pod: Object, volume: Object) -> dict[str, bytes]:
    match volume:
        case {"emptyDir": _}:
            return {}
        case {"secret": source}:
            return await _chosen(api, pod, "secrets", source["secretName"], source.get("items"))
        case {"configMap": source}:
            return await _chosen(api, pod, "configmaps", source["name"], source.get("items"))
        case {"projected": {"sources": sources}}:
            files: dict[str, bytes] = {}
            for source in sources:
                files |= await _projected(api, pod, source)
            return files
    raise NotImplementedError(f"volume {volume}")


async def _projected(api: Api, pod: Object, source: Object) -> dict[str, bytes]:
    match source:
        case {"serviceAccountToken": token}:
            return {token["path"]: (await _token(api, pod, token)).encode()}
        case {"configMap": chosen}:
            return await _chosen(api, pod, "configmaps", chosen["name"], chosen.get("items"))
        case {"secret": chosen}:
            return await _chosen(api, pod, "secrets", chosen["name"], chosen.get("items"))
        case {"downwardAPI": {"items": items}}:
            return {item["path"]: field(pod, item["fieldRef"]["fieldPath"]).encode() for item in items}
    raise NotImplementedError(f"projected volume {source}")


async def _chosen(
    api: Api, pod: Object, plural: str, name: str, items: list[dict[str, str]] | None
) -> dict[str, bytes]:
    try:
        found = await api.get(f"/api/v1/namespaces/{pod['metadata']['namespace']}/{plural}/{name}")
    except NotFound:
        raise NotThereYet(f"{plural}/{name}") from None
    data = found.get("data") or {}
    content = {key: base64.b64decode(value) if plural == "secrets" else value.encode() for key, value in data.items()}
    if items is None:
        return content
    try:
        return {item["path"]: content[item["key"]] for item in items}
    except KeyError as error:
        raise NotThereYet(f"{plural}/{name}: {error}") from None


async def _token(api: Api, pod: Object, source: Object) -> str:
    """A token as the kubelet asks for it: bound to the pod."""
    metadata = pod["metadata"]
    account = pod["spec"]["serviceAccountName"]
    bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
    spec = {"expirationSeconds": source.get("expirationSeconds", 3600), "boundObjectRef": bound}
    if audience := source.get("audience"):
        spec["audiences"] = [audience]
    path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
    return str((await api.ask("POST", path, {"spec": spec}))["status"]["token"])


def field(pod: Object, path: str) -> str:
    """A field by the downward API's path."""
    value: Any = pod
    for name in path.split("."):
        value = value[name]
    return str(value)


def mounting(container: Object, folders: Mapping[str, Path], scratch: Path) -> tuple[str, ...]:
    """The command line that runs another one with a container's mounts; `scratch` is an empty folder."""
    mounts = [
        (Path(mount["mountPath"]).resolve(), folders[mount["name"]]) for mount in container.get("volumeMounts", ())
    ]
    bases = dict.fromkeys(_base(point) for point, _ in mounts if not point.exists())
    script = ["set -e", f"mount -t tmpfs tmpfs {shlex.quote(str(scratch))}"]
    for number, base in enumerate(bases):
        upper, work = (shlex.quote(f"{scratch}/{number}-{use}") for use in ("upper", "work"))
        script.append(f"mkdir {upper} {work}")
        script.append(f"mount -t overlay overlay -o lowerdir={base},upperdir={upper},workdir={work} {base}")
    # Last those that hide other volumes' folders.
    for point, source in sorted(mounts, key=lambda mount: any(path.is_relative_to(mount[0]) for _, path in mounts)):
        script.append(f"mkdir -p {point}")
        script.append(f"mount --bind {shlex.quote(str(source))} {point}")
    if container.get("securityContext", {}).get("readOnlyRootFilesystem"):
        script.append("mount -o remount,bind,ro /")
    return ("unshare", "--mount", "sh", "-c", "\n".join([*script, 'exec "$@"']), "sh")


def _base(point: Path) -> Path:
    """The nearest folder above that is there. Over the root no overlay can be mounted by itself."""
    base = next(parent for parent in point.parents if parent.exists())
    if base == Path("/"):
        raise NotImplementedError(f"a mount point directly below the root, which is missing here: {point}")
    return base
