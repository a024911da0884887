"""The alert rules, and what is made of them: the same rules as objects for the prometheus-operator.

Run as a program, it writes manifests/monitoring/prometheus-rules.yaml anew.
"""

import textwrap
from dataclasses import dataclass
from typing import Final

import yaml

from tests.support.manifests import MANIFESTS

MONITORING: Final = MANIFESTS / "monitoring"
RULE_FILES: Final = {"iam4kube": MONITORING / "server.rules.yaml", "ip2service": MONITORING / "router.rules.yaml"}
"""By the program that they are about, which is also its namespace and its job."""
OPERATOR_FILE: Final = MONITORING / "prometheus-rules.yaml"
_COMPONENTS: Final = {"iam4kube": "server", "ip2service": "router"}


@dataclass(frozen=True)
class Alert:
    """One alert rule."""

    name: str
    program: str
    expression: str
    severity: str
    summary: str
    runbook: str
    """A page and an anchor on it."""
    waits: bool
    """Whether its expression has to hold for a while."""


def alerts() -> list[Alert]:
    """All of them."""
    return [
        Alert(
            name=rule["alert"],
            program=program,
            expression=rule["expr"],
            severity=rule["labels"]["severity"],
            summary=rule["annotations"]["summary"],
            runbook=rule["annotations"]["runbook_url"],
            waits="for" in rule,
        )
        for program, file in RULE_FILES.items()
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


def operator_text() -> str:
    """The rules as objects, with their comments."""
    return "---\n".join(map(_object_text, RULE_FILES))


def _object_text(program: str) -> str:
    groups = RULE_FILES[program].read_text().partition("\ngroups:\n")[2]
    return f"""\
# Written by `python -m tests.support.alert_rules` from {RULE_FILES[program].name}.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {program}
  namespace: {program}
  labels:
    app.kubernetes.io/name: {program}
    app.kubernetes.io/component: {_COMPONENTS[program]}
spec:
  groups:
{textwrap.indent(groups, "  ")}"""


if __name__ == "__main__":
    OPERATOR_FILE.write_text(operator_text())
