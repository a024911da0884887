"""JSON merge patch (RFC 7386) and strategic merge patch, as pure functions.

A strategic patch is a merge patch whose lists of objects may have a key: their elements merge one by one.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from iam4kube.sandbox.kubernetes.resources import Object

# `patchMergeKey` tags of k8s.io/api/core/v1, of the lists that kubelets and controllers patch. All other
# lists are replaced whole, such as a node's taints and a pod's containerStatuses.
_MERGE_KEYS: Mapping[str, str] = {
    "addresses": "type",
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "hostIPs": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "podIPs": "ip",
    "secrets": "name",
    "volumes": "name",
}
_DIRECTIVE = "$patch"


def merge_patch(target: Object, patch: Mapping[str, Any]) -> Object:
    """`target` with `patch` applied: null removes, objects merge, everything else replaces."""
    merged: Object = _merged(target, patch, _replace)
    return merged


def strategic_merge_patch(target: Object, patch: Mapping[str, Any]) -> Object:
    """`target` with `patch` applied, lists with a merge key element by element; `$patch: delete` and `replace`."""
    merged: Object = _merged(target, patch, _merge_list)
    return merged


_ListRule = Callable[[str, Any, list[Any]], list[Any]]


def _merged(target: object, patch: object, list_rule: _ListRule, name: str = "") -> Any:
    if isinstance(patch, list):
        return list_rule(name, target, patch)
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result: Object = dict(target) if isinstance(target, dict) else {}
    if patch.get(_DIRECTIVE) == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != _DIRECTIVE}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value, list_rule, key)
    return result


def _replace(_name: str, _target: object, patch: list[Any]) -> list[Any]:
    return copy.deepcopy(patch)


def _merge_list(name: str, target: object, patch: list[Any]) -> list[Any]:
    key = _MERGE_KEYS.get(name)
    if key is None or not isinstance(target, list):
        return [copy.deepcopy(element) for element in patch if not _is_directive(element)]
    elements = {element[key]: element for element in target}
    for change in patch:
        directive = change.get(_DIRECTIVE)
        if directive == "delete":
            elements.pop(change.get(key), None)
        elif directive == "replace":
            elements.clear()
        else:
            elements[change[key]] = _merged(elements.get(change[key]), change, _merge_list)
    return list(elements.values())


def _is_directive(element: object) -> bool:
    return isinstance(element, dict) and _DIRECTIVE in element
