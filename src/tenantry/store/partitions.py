"""Owns the partitions of PostgreSQL's mail tables: a week of message ids each, made ahead; dropping them is retention's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.store.types import micros

TABLES = ("message", "recipient", "content", "event")
WEEK = timedelta(days=7)
FIRST = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday: weeks are counted from here
AHEAD = 4
LOCK_MILLISECONDS = 30  # who changes a table's partitions keeps everybody waiting: it gives way, and tries again later

Part = tuple[str, date]


def first_id(at: datetime) -> UUID:
    """Return the smallest uuid7 of a time."""
    return UUID(int=(micros(at) // 1000) << 80)


def week_of(at: datetime) -> date:
    """Return the Monday that begins the week of a time."""
    return (FIRST + (at - FIRST) // WEEK * WEEK).date()


def begin_of(week: date) -> datetime:
    """Return the instant at which a week begins."""
    return datetime.combine(week, time(), UTC)


def end_of(name: str) -> datetime:
    """Return the time at which a week's partition of this name ends."""
    return datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC) + WEEK


def create_default_partitions(connection: Connection) -> None:
    """Make the partitions that take what no week takes, so that a clock that jumps loses no mail."""
    for table in TABLES:
        connection.execute(text(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT"))


async def weekly_partitions(connection: AsyncConnection) -> list[Part]:
    """Return the partitions that there are, oldest first, but for the default ones."""
    found = await connection.execute(
        text(
            "SELECT p.relname, c.relname FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent"
            " JOIN pg_class c ON c.oid = i.inhrelid WHERE p.relnamespace = current_schema()::regnamespace"
        )
    )
    parts = [(str(table), str(name).removeprefix(f"{table}_")) for table, name in found if table in TABLES]
    weeks = [(table, datetime.strptime(digits, "%Y%m%d").date()) for table, digits in parts if digits.isdigit()]  # noqa: DTZ007
    return sorted(weeks, key=lambda part: (part[1], part[0]))


async def make_partitions(connection: AsyncConnection, now: datetime) -> int:
    """Make this week's partitions and the next ones, where missing; return how many were made.

    A week whose mail lies in a default partition already is left there. Raises StoreBusy where a table is in use for too
    long: they are made weeks ahead, so that there is time to try again.
    """
    await be_brief(connection)
    known = set(await weekly_partitions(connection))
    made = 0
    for mail_table, week in _wanted(now):
        if (mail_table, week) not in known:
            make = text("SELECT tenantry_make_partition(:mail_table, :week)")
            made += bool(await connection.scalar(make, {"mail_table": mail_table, "week": week}))
    return made


def _wanted(now: datetime) -> Iterator[Part]:
    for number in range(AHEAD + 1):
        for table in TABLES:
            yield table, week_of(now + number * WEEK)


async def drop_partition(connection: AsyncConnection, part: Part, keep: Sequence[str]) -> bool:
    """Drop one week of a mail table but for the rows of these messages (in digits); say whether it was there.

    Raises StoreBusy where the table is in use for too long, or mail of that week waits that is not kept.
    """
    await be_brief(connection)
    dropped = text("SELECT tenantry_drop_partition(:mail_table, :week, :keep)")
    return bool(await connection.scalar(dropped, {"mail_table": part[0], "week": part[1], "keep": list(keep)}))


async def be_brief(connection: AsyncConnection) -> None:
    """Let this transaction give up where it would have to wait for a lock: nobody then waits behind it."""
    await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}"))
