"""Figures beside the design's bars, and the table that shows them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

_HEADS = ("figure", "measured", "bar", "")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number. Without a bar it is there for comparison."""

    name: str
    value: float
    unit: str = ""
    bar: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def holds(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.better == "lower" else self.value >= self.bar


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values are; by the nearest rank, so it is one of them."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(name: str, seconds: Sequence[float], *, p50: float | None = None, p99: float) -> list[Figure]:
    """Median and 99th percentile of durations, in milliseconds, beside their bars."""
    return [
        Figure(name=f"{name}, p50", value=1000 * percentile(seconds, 0.5), unit="ms", bar=p50),
        Figure(name=f"{name}, p99", value=1000 * percentile(seconds, 0.99), unit="ms", bar=p99),
    ]


def spread(name: str, seconds: Sequence[float]) -> list[Figure]:
    """Median, 99th percentile and worst of durations, in milliseconds, for comparison."""
    shares = (("p50", 0.5), ("p99", 0.99), ("worst", 1.0))
    return [
        Figure(name=f"{name}, {label}", value=1000 * percentile(seconds, share), unit="ms") for label, share in shares
    ]


def table(sections: Iterable[tuple[str, Sequence[Figure]]]) -> str:
    """All figures, one a line, under their sections' titles."""
    rows: list[tuple[str, ...]] = [_HEADS]
    for title, figures in sections:
        rows += [("", "", "", ""), (title, "", "", "")]
        rows += [_row(figure) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = (f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip() for row in rows)
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
    bar = "" if figure.bar is None else f"{'<=' if figure.better == 'lower' else '>='} {_number(figure.bar)}"
    verdict = {None: "", True: "held", False: "MISSED"}[figure.holds]
    return f"  {figure.name}", f"{_number(figure.value)} {figure.unit}".rstrip(), bar, verdict


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
