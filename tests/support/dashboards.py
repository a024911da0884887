"""The dashboards, as Grafana reads them."""

import json
from typing import Any, Final, TypeAlias

from tests.support.alert_rules import MONITORING

Panel: TypeAlias = dict[str, Any]

FILES: Final = tuple(sorted((MONITORING / "dashboards").glob("*.json")))
RATE_INTERVAL: Final = "$__rate_interval"
"""Grafana puts a duration in its place."""


def dashboard(file: str) -> dict[str, Any]:
    """One of them, by its file's name."""
    found: dict[str, Any] = json.loads((MONITORING / "dashboards" / file).read_text())
    return found


def panels(file: str) -> list[Panel]:
    """Its panels, without the rows' titles."""
    return [panel for panel in dashboard(file)["panels"] if panel["type"] != "row"]


def queries(file: str) -> list[str]:
    """All its expressions, with a duration where Grafana would put one."""
    return [target["expr"].replace(RATE_INTERVAL, "5m") for panel in panels(file) for target in panel["targets"]]
