"""Owns the partitions of PostgreSQL's mail tables: a week of message ids each, made ahead; dropping them is retention's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.store.types import micros

TABLES = ("message", "recipient", "content", "event")
WEEK = timedelta(days=7)
FIRST = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday: weeks are counted from here


def first_id(at: datetime) -> UUID:
    """Return the smallest uuid7 of a time."""
    return UUID(int=(micros(at) // 1000) << 80)


def end_of(name: str) -> datetime:
    """Return the time at which a week's partition of this name ends."""
    return datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC) + WEEK


def create_default_partitions(connection: Connection) -> None:
    """Make the partitions that take what no week takes, so that a clock that jumps loses no mail."""
    for table in TABLES:
        connection.execute(text(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT"))


async def make_partitions(connection: AsyncConnection, now: datetime, ahead: int = 4) -> int:
    """Make this week's partitions and the next ones, where missing; return how many were made."""
    made = 0
    this_week = FIRST + (now - FIRST) // WEEK * WEEK
    for start in (this_week + number * WEEK for number in range(ahead + 1)):
        for table in TABLES:
            name = f"{table}_{start:%Y%m%d}"
            known = await connection.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name})
            if not known:
                await connection.execute(
                    text(
                        f"CREATE TABLE {name} PARTITION OF {table}"
                        f" FOR VALUES FROM ('{first_id(start)}') TO ('{first_id(start + WEEK)}')"
                    )
                )
                made += 1
    return made
