"""Owns how a command's answer reaches people: tables, times with their age, or exactly one JSON document.

Leaves what is in an answer to the commands. Text from the API never reaches the terminal with control characters in it.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from tenantry.cli import profile
from tenantry.cli.api import Api
from tenantry.cli.document import Json
from tenantry.cli.failure import ExitCode, Failure

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 240  # of a pipe or file, so that no id is broken there
GOOD = {"verified", "delivered", "handed", "ended", "ok", "success", "healthy", "enabled"}
BAD = {"failed", "bounced", "complained", "rejected", "refused", "fenced", "paused", "error", "shutdown", "expired"}
UNDECIDED = {"pending", "waiting", "claimed", "unknown", "opening", "local", "warning", "throttle", "suppressed"}


EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command has to say: the JSON document, how it is shown to a person, and the exit code."""

    document: Json
    show: Callable[[Screen], None]
    code: ExitCode = ExitCode.OK


class Screen:
    """A person's terminal, or the pipe behind it; `now` is the time by which ages are told."""

    def __init__(self, now: datetime = EPOCH) -> None:
        self.now = now

    @functools.cached_property
    def console(self) -> Console:
        """Rich's console, loaded when something is printed."""
        from rich.console import Console

        return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, markup=False)

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print one line."""
        self.console.print(clean(text), style=style, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str = "none") -> None:
        """Print a table; figures are given as text, and a state gets its colour."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        rows = list(rows)
        if not rows:
            self.line(empty, style="dim")
            return
        table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for column in table.columns:
            column.overflow = "fold"  # an id is shown whole, over two lines where it must be
        for row in rows:
            table.add_row(*(Text(clean(cell), style=state_style(cell)) for cell in row))
        self.console.print(table)

    def facts(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Print names and values, one a line, empty ones left out."""
        kept = [(name, value) for name, value in pairs if value]
        width = max((len(name) for name, _ in kept), default=0)
        for name, value in kept:
            self.console.print(f"{name:<{width}}  {clean(value)}", soft_wrap=True)

    def moment(self, stamp: str) -> str:
        """Return a time as people here read it, with its age."""
        at = instant(stamp)
        return f"{at.astimezone():%Y-%m-%d %H:%M:%S} ({age((self.now - at).total_seconds())})" if at else ""

    def precise(self, stamp: str) -> str:
        """Return a time to the millisecond, for what follows fast upon each other."""
        at = instant(stamp)
        return f"{at.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3] if at else ""


def instant(stamp: str) -> datetime | None:
    """Read a time of the API."""
    try:
        return datetime.fromisoformat(stamp) if stamp else None
    except ValueError:
        return None


def age(seconds: float) -> str:
    """Say how long ago something was, in the one unit that matters."""
    if seconds < 0:
        return f"in {age(-seconds).removesuffix(' ago')}" if seconds < -1 else "now"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago" if seconds >= 1 else "now"


def clean(text: str) -> str:
    """Take the control characters out of text that somebody else wrote."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def percent(rate: float | None) -> str:
    """Write a rate for people."""
    return "" if rate is None else f"{rate * 100:.3g} %"


def seconds(value: float | None) -> str:
    """Write a wait for people."""
    if value is None:
        return ""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def state_style(text: str) -> str:
    """Return the colour of a state's word; other text has none."""
    word = text.lower()
    if word in GOOD:
        return "green"
    return "red" if word in BAD else "yellow" if word in UNDECIDED else ""


def print_json(document: Json) -> None:
    """Print the one document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def asks(command: Callable[..., Answer]) -> Callable[..., None]:
    """Make a function of the API into the body of a client command: adds --json and --data, shows the answer, exits.

    Put it last, under click's own decorators.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document.")
    @click.option("--data", type=click.Path(path_type=Path), help="Data folder of `tenantry up`, for its profile.")
    @functools.wraps(command)
    def run(*args: object, as_json: bool, data: Path | None, **given: object) -> None:
        try:
            with Api(profile.find(data)) as api:
                answer = command(api, *args, **given)
        except Failure as failure:
            end(failure, as_json)
        if as_json:
            print_json(answer.document)
        else:
            answer.show(Screen(api.now))
        sys.exit(answer.code)

    return run


def end(failure: Failure, as_json: bool) -> NoReturn:
    """Say why a command failed and leave with its code; with --json the document goes where answers go."""
    if as_json:
        print_json(failure.document())
    else:
        where = f" (field: {failure.field})" if failure.field else ""
        click.secho(f"{clean(failure.word)}: {clean(failure.message)}{clean(where)}", err=True, fg="red")
    sys.exit(failure.code)
