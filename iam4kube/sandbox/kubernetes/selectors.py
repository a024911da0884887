"""Label and field selectors: texts that become predicates on objects.

Grammar: "Labels and Selectors" and "Field Selectors" of the Kubernetes documentation. Fields compare as text,
an absent one as the empty string.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from iam4kube.sandbox.kubernetes.errors import ApiError
from iam4kube.sandbox.kubernetes.resources import Object, ResourceType

Predicate: TypeAlias = Callable[[Object], bool]

_COMMAS = re.compile(r",(?![^(]*\))")  # not those inside "in (a, b)"
_EQUALITY = re.compile(r"(?P<name>[^=!]+?)\s*(?P<operator>==|=|!=)\s*(?P<value>[^=!]*)")
_MEMBERSHIP = re.compile(r"(?P<name>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^)]*)\)")
_EXISTENCE = re.compile(r"(?P<absent>!?)\s*(?P<name>[A-Za-z0-9./_-]+)")


def selector(resource: ResourceType, *, labels: str, fields: str) -> Predicate:
    """Whether an object is selected by both texts (an empty one selects everything). Raises 400."""
    requirements = [_label_requirement(term) for term in _terms(labels)]
    requirements += [_field_requirement(resource, term) for term in _terms(fields)]
    return lambda obj: all(requirement(obj) for requirement in requirements)


def _terms(text: str) -> list[str]:
    return [term.strip() for term in _COMMAS.split(text)] if text.strip() else []


def _label_requirement(term: str) -> Predicate:
    if match := _MEMBERSHIP.fullmatch(term):
        return _membership(match["name"], match["operator"], match["values"])
    if match := _EQUALITY.fullmatch(term):
        return _label_equality(match["name"], match["operator"], match["value"])
    if match := _EXISTENCE.fullmatch(term):
        return _existence(match["name"], wanted=not match["absent"])
    raise ApiError(400, f"unable to parse requirement: {term!r}")


def _membership(name: str, operator: str, values: str) -> Predicate:
    members = {value.strip() for value in values.split(",")}
    if operator == "in":
        return lambda obj: _labels(obj).get(name) in members
    return lambda obj: _labels(obj).get(name) not in members


def _label_equality(name: str, operator: str, value: str) -> Predicate:
    if operator == "!=":
        return lambda obj: _labels(obj).get(name) != value  # an absent label differs from every value
    return lambda obj: _labels(obj).get(name) == value


def _existence(name: str, *, wanted: bool) -> Predicate:
    return lambda obj: (name in _labels(obj)) is wanted


def _field_requirement(resource: ResourceType, term: str) -> Predicate:
    match = _EQUALITY.fullmatch(term)
    if match is None:
        raise ApiError(400, f"invalid selector: {term!r}; can't understand it")
    name, value = match["name"], match["value"]
    if name not in {"metadata.name", "metadata.namespace", *resource.fields}:
        raise ApiError(400, f"field label not supported: {name}")
    wanted = match["operator"] != "!="
    return lambda obj: (_field(obj, name) == value) is wanted


def _labels(obj: Object) -> Mapping[str, str]:
    labels: Mapping[str, str] = obj["metadata"].get("labels") or {}
    return labels


def _field(obj: Object, path: str) -> str:
    value: object = obj
    for step in path.split("."):
        value = value.get(step, "") if isinstance(value, dict) else ""
    return str(value).lower() if isinstance(value, bool) else str(value)
