"""Owns the table: what was compared, the medians, the ratio, and what was to be reached."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import median

from rich.console import Console
from rich.table import Table


class Size(StrEnum):
    """How much is measured: in a minute, in some ten with all figures, or at the sizes of the goals."""

    QUICK = "quick"
    USUAL = "usual"
    LONG = "long"


@dataclass(frozen=True)
class Figure:
    """One line of the table; higher_is_better says on which side of the goal it should lie."""

    name: str
    store: str
    compared: str
    value: float
    goal: float
    higher_is_better: bool
    detail: str
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether the goal was reached in this run."""
        return self.value >= self.goal if self.higher_is_better else self.value <= self.goal


def quantile(values: list[float], fraction: float) -> float:
    """Return a quantile of a sample, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def show(figures: list[Figure]) -> None:
    """Print the table."""
    table = Table(show_lines=False)
    for column in ("figure", "store", "compared", "measured", "to reach", "reached", "detail"):
        table.add_column(column, overflow="fold")
    for one in figures:
        sign = ">=" if one.higher_is_better else "<="
        value, goal = f"{one.value:.3g}{one.unit}", f"{sign} {one.goal:g}{one.unit}"
        table.add_row(one.name, one.store, one.compared, value, goal, "yes" if one.reached else "no", one.detail)
    Console(width=180).print(table)


def documents(figures: list[Figure]) -> list[dict[str, object]]:
    """Return the figures as plain documents."""
    return [{**asdict(one), "reached": one.reached} for one in figures]


__all__ = ["Figure", "Size", "documents", "median", "quantile", "show"]
