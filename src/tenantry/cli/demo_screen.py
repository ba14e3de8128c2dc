"""Owns how the demo looks: live in a terminal, as lines in a pipe, or silent; leaves what happens to `demo_story`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tenantry.cli.demo_cast import COMPANY, PLAYERS
from tenantry.cli.demo_checks import BOUNCE_LINE, COMPLAINT_LINE, Check
from tenantry.cli.demo_watch import Row, Snapshot
from tenantry.cli.show import clean, percent, seconds, state_style

BAR_CELLS = 24
TALLY_COLUMNS = ("tenant", "accepted", "handed", "delivered", "bounced", "complained", "suppressed", "waiting",
                 "wait p50", "wait p99", "marketing is")  # fmt: skip

ALWAYS_TOLD = {"tenant", "accepted", "delivered", "bounced"}

LIVE_COLUMNS = ("tenant", "trans-\nactional", "wait\np99", "mar-\nketing", "wait\np99", "waiting", "bounced", "state")
"""Fits 80 columns: what SES got of each stream, how long that waited, and what waits now."""


class View:
    """What the person sees. Use it as a context; silent prints nothing at all."""

    def __init__(self, *, silent: bool) -> None:
        self._console = Console(quiet=silent, highlight=False, width=None if sys.stdout.isatty() else 160)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._is_live = not silent and self._console.is_terminal
        self._act = ""
        self._verdict = ""

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._is_live:
            self._live.stop()

    def act(self, text: str) -> None:
        """Say what happens now."""
        self._act = text
        self._console.print(Text(f"\N{BLACK RIGHT-POINTING TRIANGLE} {text}", style="bold cyan"))

    def say(self, text: str, style: str = "") -> None:
        """Print a line that stays."""
        self._console.print(Text(clean(text), style=style))

    def copy(self, text: str) -> None:
        """Print a line to be copied: whatever the width, it is not broken."""
        self._console.print(Text(f"  {clean(text)}"), soft_wrap=True)

    def verdict(self, words: str) -> None:
        """Show the guard's judgement from now on."""
        self._verdict = clean(" ".join(words.splitlines()))
        self._console.print(Padding(Text(f"guard: {self._verdict}", style="yellow"), (0, 0, 0, 2)))

    def show(self, snapshot: Snapshot) -> None:
        """Show how everything stands now."""
        if self._is_live:
            parts: list[Table | Panel] = [_streams(snapshot), _account(snapshot)]
            if self._verdict:
                parts.append(Panel(Text(self._verdict), title="verdict", border_style="yellow"))
            self._live.update(Panel(Group(*parts), title=COMPANY, border_style="cyan"))

    def tally(self, rows: Sequence[Sequence[str]]) -> None:
        """Show what happened to each tenant."""
        told = [  # a column of nothing but zeros says nothing
            (name, cells)
            for name, cells in zip(TALLY_COLUMNS, zip(*rows, strict=True), strict=True)
            if name in ALWAYS_TOLD or set(cells) != {"0"}
        ]
        table = _table([name for name, _ in told])
        for row in zip(*(cells for _, cells in told), strict=True):
            table.add_row(*(Text(clean(cell), style=state_style(cell)) for cell in row))
        self._console.print(table)

    def checks(self, found: Sequence[Check]) -> None:
        """Print each claim with its tick."""
        grid = Table.grid(padding=(0, 1))
        for check in found:
            tick, style = ("\N{CHECK MARK}", "green") if check.holds else ("\N{BALLOT X}", "bold red")
            line = Text(check.name, style=style)
            line.append(f"  ({clean(check.detail)})", style="dim")
            grid.add_row(Text(tick, style=style), line)
        self._console.print(grid)


def _streams(snapshot: Snapshot) -> Table:
    """One line a tenant: its transactional stream on the left, marketing on the right."""
    table = _table(LIVE_COLUMNS)
    by_name = {(row.tenant, row.stream): row for row in snapshot.rows}
    for player in PLAYERS:
        first, second = by_name.get((player.name, "transactional")), by_name.get((player.name, "marketing"))
        if first is not None and second is not None:
            table.add_row(player.name, *_fare(first), *_fare(second), *_state(first, second))
    return table


def _table(columns: Sequence[str]) -> Table:
    """Return a table of a name, figures, and a state; narrow enough for 80 columns."""
    table = Table(*columns, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = True
    for column in table.columns[1:-1]:
        column.justify = "right"
    return table


def _fare(row: Row) -> tuple[str, str]:
    return f"{row.handed:,}" if row.handed else "", seconds(row.wait_p99)


def _state(first: Row, second: Row) -> tuple[str, str, Text]:
    waiting, bounced = (first.states.get(name, 0) + second.states.get(name, 0) for name in ("waiting", "bounced"))
    worse = second if second.state != "ok" or first.state == "ok" else first
    style = "green" if worse.state == "ok" else "bold red" if worse.state.startswith("paus") else "yellow"
    told = worse.state.removesuffix(" of the rate").replace("probation,", "ramp")
    return str(waiting or ""), str(bounced or ""), Text(told, style=style)


def _account(snapshot: Snapshot) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_row("account sent", f"{snapshot.sent:,}")
    for name, bad, line in (
        ("bounces", snapshot.bounced, BOUNCE_LINE),
        ("complaints", snapshot.complained, COMPLAINT_LINE),
    ):
        rate = bad / snapshot.sent if snapshot.sent else 0.0
        filled = min(BAR_CELLS, round(rate / line * BAR_CELLS))
        bar = Text("\N{FULL BLOCK}" * filled, style="green" if rate < line / 2 else "yellow" if rate < line else "red")
        bar.append("\N{MIDDLE DOT}" * (BAR_CELLS - filled), style="dim")
        grid.add_row(f"account {name}", bar, f"{percent(rate)} of Amazon's {percent(line)}")
    return grid
