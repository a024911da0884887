"""docs/permissions.md holds what the program needs, in its table and in the rules to paste."""

from pathlib import Path

import yaml  # type: ignore[import-untyped]  # two calls of it

from iam4kube.kube.permissions import SERVER_PERMISSIONS

PAGE = Path(__file__).parents[2] / "docs" / "permissions.md"


def _pasted_rules() -> list[dict[str, object]]:
    block = PAGE.read_text().split("```yaml\n")[1].split("```")[0]
    role = next(document for document in yaml.safe_load_all(block) if document["kind"] == "ClusterRole")
    return list(role["rules"])


def test_cluster_role_to_paste_is_what_the_program_needs() -> None:
    """Nothing more, or tenants are exposed; nothing less, or a watch never syncs."""
    assert _pasted_rules() == [
        {"apiGroups": [needed.group], "resources": [needed.resource], "verbs": list(needed.verbs)}
        for needed in SERVER_PERMISSIONS
    ]


def test_table_says_of_each_rule_what_it_is_for() -> None:
    """A reader who doubts a rule finds its reason on the page."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert [row.replace("`", "") for row in rows] == [
        f"| {needed.resource} | {', '.join(needed.verbs)} | {needed.why} |" for needed in SERVER_PERMISSIONS
    ]
