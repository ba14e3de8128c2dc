"""Owns what this local SES says of its operations: done, partly done (and what is missing), or refused (and why).

Leaves doing them to the families; each says of its own methods what is missing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from botocore import xform_name

F = TypeVar("F", bound=Callable[..., Any])
_MISSING: dict[Callable[..., Any], str] = {}  # what the declarations below said of methods
_REFUSED: dict[Callable[..., Any], str] = {}


class Level(StrEnum):
    """How much of an operation is here."""

    DONE = "done"
    PARTLY = "partly"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is said of one operation; `note` tells what is missing, or why it is refused."""

    operation: str
    level: Level
    note: str = ""


def partly(missing: str) -> Callable[[F], F]:
    """Declare what an operation's method leaves out, in one sentence for the table."""

    def declare(method: F) -> F:
        _MISSING[method] = missing
        return method

    return declare


def refused(why: str) -> Callable[[F], F]:
    """Declare that an operation's method refuses every valid call, and why."""

    def declare(method: F) -> F:
        _REFUSED[method] = why
        return method

    return declare


def coverage_of(families: type, operations: Iterable[str]) -> list[Coverage]:
    """Return what is said of each operation, in the order of the names."""
    return [_of(families, name) for name in sorted(operations)]


def table(rows: Iterable[Coverage]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [f"| {row.operation} | {row.level} | {row.note} |" for row in rows]
    return "\n".join(["| Operation | Level | What is missing, or why |", "|---|---|---|", *lines])


def _of(families: type, name: str) -> Coverage:
    method = getattr(families, xform_name(name), None)
    if method is None:
        return Coverage(name, Level.REFUSED, "not implemented")
    if why := _REFUSED.get(method):
        return Coverage(name, Level.REFUSED, why)
    missing = _MISSING.get(method, "")
    return Coverage(name, Level.PARTLY if missing else Level.DONE, missing)
