"""docs/permissions.md holds what the programs need, in its tables and in the rules to paste."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from iam4kube.kube.permissions import (
    ROUTER_PERMISSIONS,
    SERVER_PERMISSIONS,
    STARTUP_TAINT_PERMISSION,
    TOKEN_KEY_PERMISSION,
    Permission,
    Scope,
)

PAGE = Path(__file__).parents[2] / "docs" / "permissions.md"
_SERVER, _TOKEN_KEY, _ROUTER = "The credential server", "The token key's Job", "The router"
_STARTUP_TAINT = "With `--remove-startup-taint`"
_PLACES = {None: Scope.CLUSTER, "iam4kube": Scope.SERVICE_NAMESPACE, "default": Scope.DEFAULT_NAMESPACE}

each_program = pytest.mark.parametrize(
    ("section", "needed"),
    [(_SERVER, SERVER_PERMISSIONS), (_TOKEN_KEY, (TOKEN_KEY_PERMISSION,)), (_ROUTER, ROUTER_PERMISSIONS)],
)


def _section(title: str) -> str:
    """The page from this title to the next one."""
    [text] = re.findall(rf"^#+ {re.escape(title)}$(.*?)(?=^##|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(text)


def _pasted(section: str) -> list[Any]:
    block = _section(section).split("```yaml\n")[1].split("```")[0]
    return list(yaml.safe_load_all(block))


def _place(document: dict[str, Any]) -> tuple[str, str | None, str]:
    """Cluster or one namespace, which one, and the name."""
    metadata = document["metadata"]
    return document["kind"].removesuffix("Binding"), metadata.get("namespace"), metadata["name"]


def _rule(needed: Permission) -> dict[str, list[str]]:
    names = {"resourceNames": list(needed.names)} if needed.names else {}
    return {"apiGroups": [needed.group], "resources": [needed.resource], **names, "verbs": list(needed.verbs)}


@each_program
def test_roles_to_paste_are_what_the_program_needs(section: str, needed: Sequence[Permission]) -> None:
    """Nothing more and nowhere else, or tenants are exposed; nothing less, or a watch never syncs."""
    roles = [document for document in _pasted(section) if document["kind"] in ("ClusterRole", "Role")]
    granted = {_PLACES[role["metadata"].get("namespace")]: role["rules"] for role in roles}
    assert len(granted) == len(roles)
    assert granted == {
        scope: [_rule(permission) for permission in needed if permission.scope == scope]
        for scope in {permission.scope for permission in needed}
    }


@each_program
def test_every_role_to_paste_is_bound(section: str, needed: Sequence[Permission]) -> None:
    """In its own namespace, and to one ServiceAccount."""
    documents = _pasted(section)
    bindings = [document for document in documents if "roleRef" in document]
    roles = [document for document in documents if "rules" in document]
    assert sorted(map(_place, bindings), key=str) == sorted(map(_place, roles), key=str)
    assert all(binding["roleRef"]["name"] == binding["metadata"]["name"] for binding in bindings)
    assert all(f"{binding['roleRef']['kind']}Binding" == binding["kind"] for binding in bindings)
    assert len({str(binding["subjects"]) for binding in bindings}) == 1


def test_a_taint_to_remove_needs_one_rule_more() -> None:
    """It stands apart, because it is a permission on every node."""
    assert _pasted(_STARTUP_TAINT) == [[_rule(STARTUP_TAINT_PERMISSION)]]


@pytest.mark.parametrize(
    ("section", "needed", "says_where"),
    [
        (_SERVER, SERVER_PERMISSIONS, False),
        (_TOKEN_KEY, (TOKEN_KEY_PERMISSION,), True),
        (_ROUTER, ROUTER_PERMISSIONS, True),
        (_STARTUP_TAINT, (STARTUP_TAINT_PERMISSION,), True),
    ],
)
def test_table_says_of_each_rule_what_it_is_for(section: str, needed: Sequence[Permission], says_where: bool) -> None:
    """A reader who doubts a rule finds its reason on the page."""
    rows = [line for line in _section(section).splitlines() if line.startswith("| `")]
    assert [row.replace("`", "") for row in rows] == [_row(permission, says_where=says_where) for permission in needed]


def _row(permission: Permission, *, says_where: bool) -> str:
    where = [str(permission.scope)] if says_where else []
    resource = " named ".join([permission.resource, *permission.names])
    return f"| {' | '.join([resource, ', '.join(permission.verbs), *where, permission.why])} |"
