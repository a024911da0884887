"""What the manifests grant to whom, verb by verb, and whether it has been used."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.support.audit import Asked
from tests.support.manifests import Manifest


class Grant(NamedTuple):
    """One verb on one resource."""

    namespace: str
    """Empty for everywhere."""
    group: str
    resource: str
    names: tuple[str, ...]
    """The only objects that it is about; empty: all."""
    verb: str

    def covers(self, asked: Asked) -> bool:
        """Whether a request needs it."""
        return (
            (asked.verb, asked.group, asked.resource) == (self.verb, self.group, self.resource)
            and self.namespace in ("", asked.namespace)
            and (not self.names or asked.name in self.names)
        )


def grants_of(manifests: Sequence[Manifest], account: str) -> list[Grant]:
    """What is granted to one ServiceAccount (`namespace:name`)."""
    roles = {role_key(each): each["rules"] for each in manifests if each["kind"] in ("ClusterRole", "Role")}
    return [
        grant
        for each in manifests
        if each["kind"] in ("ClusterRoleBinding", "RoleBinding")
        and account in [f"{subject['namespace']}:{subject['name']}" for subject in each["subjects"]]
        for rule in roles[each["roleRef"]["kind"], each["metadata"].get("namespace", ""), each["roleRef"]["name"]]
        for grant in _grants(rule, each["metadata"].get("namespace", ""))
    ]


def role_key(role: Manifest) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    return role["kind"], role["metadata"].get("namespace", ""), role["metadata"]["name"]


def _grants(rule: Manifest, namespace: str) -> Iterator[Grant]:
    assert rule.keys() <= {"apiGroups", "resources", "resourceNames", "verbs"}
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield Grant(namespace, group, resource, tuple(rule.get("resourceNames", ())), verb)
