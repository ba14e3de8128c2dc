"""Owns the table: one row a figure, what it was measured against, what there is to reach; leaves measuring to the parts."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

FSYNCS = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `least` or `most` is what there is to reach; a row with neither is told for its own sake."""

    part: str
    store: str
    what: str
    against: str
    figure: float
    detail: str
    unit: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def is_reached(self) -> bool | None:
        """Whether the figure is what there is to reach; None when there is nothing to reach."""
        if self.least is not None:
            return self.figure >= self.least
        return self.figure <= self.most if self.most is not None else None

    @property
    def goal(self) -> str:
        """What there is to reach, in words."""
        if self.least is not None:
            return f"at least {self.least:g}{self.unit}"
        return f"at most {self.most:g}{self.unit}" if self.most is not None else ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures were measured on."""

    cores: int
    load: float  # of the minute before: what else was running
    python: str
    system: str
    sqlite: str
    fsync_ms: float

    @classmethod
    def here(cls) -> Machine:
        """Look at this machine."""
        return cls(
            cores=os.cpu_count() or 1,
            load=round(os.getloadavg()[0], 2),
            python=platform.python_version(),
            system=f"{platform.system()} {platform.machine()}",
            sqlite=sqlite3.sqlite_version,
            fsync_ms=round(_fsync_ms(), 2),
        )

    @property
    def words(self) -> str:
        """The same in one line."""
        return (
            f"{self.cores} cores, load {self.load:g} before the run, {self.system}, Python {self.python},"
            f" SQLite {self.sqlite}, an fsync of 4 kB takes {self.fsync_ms:g} ms"
        )


def _fsync_ms() -> float:
    """Return the median time of a small append made durable, where the bench puts its databases."""
    spent = []
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder, (Path(folder) / "f").open("wb") as file:
        for _ in range(FSYNCS):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            spent.append(time.perf_counter() - began)
    return statistics.median(spent) * 1000


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Iterable[float]) -> str:
    """Say how far the rounds lie apart."""
    found = sorted(values)
    return f"{len(found)} rounds, {found[0]:.3g} to {found[-1]:.3g}"


def table(rows: Sequence[Row], machine: Machine, seconds: float) -> Table:
    """Lay the rows out for a person."""
    out = Table(title="Tenantry's speed: ratios within one run, medians of rounds", show_lines=True)
    for name in ("store", "what", "against", "figure", "to reach", "reached"):
        out.add_column(name, justify="right" if name == "figure" else "left")
    for row in rows:
        reached = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[row.is_reached]
        figure = f"[bold]{row.figure:.3g}{row.unit}[/]"
        out.add_row(row.store, f"{row.what}\n[dim]{row.detail}[/]", row.against, figure, row.goal, reached)
    out.caption = f"{machine.words}; the run took {seconds:.0f} s"
    return out


def show(rows: Sequence[Row], machine: Machine, seconds: float, *, as_json: bool) -> None:
    """Print the table, or one JSON document."""
    if as_json:
        found = [{**asdict(row), "reached": row.is_reached} for row in rows]
        print(json.dumps({"machine": asdict(machine), "seconds": round(seconds, 1), "rows": found}, indent=2))
    else:
        console = Console()
        console.print(table(rows, machine, seconds), width=max(console.width, 120))
