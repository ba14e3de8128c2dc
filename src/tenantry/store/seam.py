"""Owns what differs between SQLite and PostgreSQL: raw values, relations of parameters, bulk inserts.

Leaves each statement's meaning to the query modules, which are written once for both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import CursorResult, Row, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from tenantry.core.ids import CellId, Id
from tenantry.store.types import IdColumn, Instant, from_micros, micros

K = TypeVar("K", bound=Id)
DbRow = Row[*tuple[Any, ...]]  # the one place where a driver's untyped values come in; readers give them types
Found = CursorResult[*tuple[Any, ...]]
Raw = str | int | float | bool | bytes | datetime | UUID | None
Value = Id | Raw


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows of parameters that a statement joins with: `name(column type, ...)` and the rows.

    Types are PostgreSQL's names (uuid, text, bigint, float8, timestamptz); SQLite needs none.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: Sequence[Sequence[Value]]


def relation(shape: str, rows: Sequence[Sequence[Value]]) -> Relation:
    """Read `w(message_id uuid, number bigint)` as a relation of these rows."""
    name, _, columns = shape.rstrip(")").partition("(")
    pairs = tuple((column.split()[0], column.split()[1]) for column in columns.split(","))
    return Relation(name, pairs, rows)


class Seam(Protocol):
    """One database's ways; every query module speaks to it through Queries below."""

    name: str

    def raw(self, value: Value) -> Raw:
        """Return a value as the driver wants it."""
        ...

    def id(self, kind: type[K], value: object) -> K:
        """Return an id from what a row holds."""
        ...

    def at(self, value: object) -> datetime:
        """Return a time from what a row holds."""
        ...

    def relation(self, given: Relation) -> tuple[str, dict[str, object]]:
        """Return the FROM item of a relation and its parameters."""
        ...

    async def insert(self, conn: AsyncConnection, table: Table, columns: str, rows: Sequence[Sequence[Value]]) -> None:
        """Insert many rows in one round trip."""
        ...

    async def now(self, conn: AsyncConnection) -> datetime:
        """Return the time of a step, read after its locks."""
        ...


class SqliteSeam:
    """SQLite: ids are hex text, times are microseconds, relations are JSON."""

    name = "sqlite"

    def __init__(self, wall: Callable[[], datetime]) -> None:
        """Take the clock that tells the time."""
        self._wall = wall

    async def now(self, conn: AsyncConnection) -> datetime:
        """See Seam."""
        return self._wall()

    def raw(self, value: Value) -> Raw:
        """See Seam."""
        if isinstance(value, Id):
            return value.rpartition("_")[2]
        return micros(value) if isinstance(value, datetime) else value

    def id(self, kind: type[K], value: object) -> K:
        """See Seam."""
        return str.__new__(kind, f"{kind.prefix}_{value}")

    def at(self, value: object) -> datetime:
        """See Seam."""
        assert isinstance(value, int)
        return from_micros(value)

    def relation(self, given: Relation) -> tuple[str, dict[str, object]]:
        """See Seam."""
        columns = ", ".join(f"value ->> {place} AS {name}" for place, (name, _) in enumerate(given.columns))
        rows = [[self.raw(value) for value in row] for row in given.rows]
        return f"(SELECT {columns} FROM json_each(:{given.name})) AS {given.name}", {given.name: json.dumps(rows)}

    async def insert(self, conn: AsyncConnection, table: Table, columns: str, rows: Sequence[Sequence[Value]]) -> None:
        """See Seam."""
        marks = ", ".join("?" * (columns.count(",") + 1))
        sql = f"INSERT INTO {table.name} ({columns}) VALUES ({marks})"
        await conn.exec_driver_sql(sql, [tuple(map(self.raw, row)) for row in rows])


class PostgresSeam:
    """PostgreSQL: ids are uuids, times are timestamptz, relations are arrays."""

    name = "postgresql"

    def __init__(self, offset: timedelta) -> None:
        """Take what is added to the database's time; only tests give more than nothing."""
        self.offset = offset

    async def now(self, conn: AsyncConnection) -> datetime:
        """See Seam."""
        at = (await conn.execute(text("SELECT clock_timestamp()"))).scalar_one()
        assert isinstance(at, datetime)
        return at + self.offset

    def raw(self, value: Value) -> Raw:
        """See Seam."""
        return UUID(value.rpartition("_")[2]) if isinstance(value, Id) else value

    def id(self, kind: type[K], value: object) -> K:
        """See Seam."""
        assert isinstance(value, UUID)
        return kind.of(value)

    def at(self, value: object) -> datetime:
        """See Seam."""
        assert isinstance(value, datetime)
        return value

    def relation(self, given: Relation) -> tuple[str, dict[str, object]]:
        """See Seam."""
        names = [f"{given.name}_{place}" for place in range(len(given.columns))]
        arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, (_, kind) in zip(names, given.columns, strict=True))
        columns = ", ".join(name for name, _ in given.columns)
        lists = self._columns(given.rows, len(names))
        return f"unnest({arrays}) AS {given.name}({columns})", dict(zip(names, lists, strict=True))

    async def insert(self, conn: AsyncConnection, table: Table, columns: str, rows: Sequence[Sequence[Value]]) -> None:
        """See Seam."""
        names = [name.strip() for name in columns.split(",")]
        arrays = ", ".join(f"${place}::{_postgres_type(table, name)}[]" for place, name in enumerate(names, start=1))
        sql = f"INSERT INTO {table.name} ({columns}) SELECT * FROM unnest({arrays})"
        await conn.exec_driver_sql(sql, tuple(self._columns(rows, len(names))))

    def _columns(self, rows: Sequence[Sequence[Value]], count: int) -> Iterable[list[Raw]]:
        if not rows:
            return [[] for _ in range(count)]
        return [[self.raw(value) for value in column] for column in zip(*rows, strict=True)]


_POSTGRES_TYPES = {
    "TEXT": "text",
    "INTEGER": "int",
    "BIGINT": "bigint",
    "FLOAT": "float8",
    "BOOLEAN": "bool",
    "BLOB": "bytea",
}


def _postgres_type(table: Table, name: str) -> str:
    kind = table.c[name].type
    if isinstance(kind, IdColumn):
        return "uuid"
    return "timestamptz" if isinstance(kind, Instant) else _POSTGRES_TYPES[str(kind)]


class Queries:
    """What every query module of a step builds on: the connection, the step's time and ids, and the seam."""

    conn: AsyncConnection
    now: datetime
    seam: Seam
    lock: CellId | None

    def new_id(self, kind: type[K]) -> K:
        """Make an id whose time is the step's."""
        return kind.of(uuid7(nanoseconds=micros(self.now) * 1000))

    def jitter(self) -> float:
        """Return a number from [0.5, 1.5), so that retries do not march in step."""
        return 0.5 + int.from_bytes(os.urandom(4)) / 2**32

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name of the database."""
        return self.seam.name

    async def run(self, sql: str, *relations: Relation, **params: Value) -> Found:
        """Execute one statement; `{w}` in it stands for the relation named w, `:name` for a parameter."""
        fragments: dict[str, str] = {}
        bound: dict[str, object] = {name: self.seam.raw(value) for name, value in params.items()}
        for given in relations:
            fragments[given.name], more = self.seam.relation(given)
            bound.update(more)
        return await self.conn.execute(text(sql.format_map(fragments) if relations else sql), bound)

    async def insert(self, table: Table, columns: str, rows: Sequence[Sequence[Value]]) -> None:
        """Insert rows given in the order of the columns; none is fine."""
        if rows:
            await self.seam.insert(self.conn, table, columns, rows)
