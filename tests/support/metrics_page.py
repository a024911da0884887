"""The metrics that a page explains, and those that a registry has: name, type, labels."""

import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

Metric = tuple[str, str, frozenset[str]]

DOCS = Path(__file__).parents[2] / "docs"
_SUFFIXES = {"counter": "_total", "info": "_info"}


def documented(page: Path) -> set[Metric]:
    """What the tables of a page list."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| [^|]+ \|$", page.read_text(), re.MULTILINE)
    return {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def registered(registry: CollectorRegistry) -> Iterator[Metric]:
    """What a registry would show, in time."""
    for collector in registry._collector_to_names:
        # A labelled metric has no samples before its first count, and only the object itself tells its labels then.
        declared = collector._labelnames if isinstance(collector, MetricWrapperBase) else ()
        for family in collector.collect():
            labels = {*declared, *getattr(family, "_labelnames", ())}
            labels |= {label for sample in family.samples for label in sample.labels}
            yield family.name + _SUFFIXES.get(family.type, ""), family.type, frozenset(labels - {"le", "quantile"})


def words_of(page: Path, metric: str) -> set[str]:
    """All words in code style in a metric's row."""
    (row,) = (line for line in page.read_text().splitlines() if line.startswith(f"| `{metric}`"))
    return set(re.findall(r"`(\w+)`", row))
