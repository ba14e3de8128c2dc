"""Owns SQLite's ways: ids are hex text, times are microseconds, relations are JSON; see seam.py for the promise of each."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

import aiosqlite
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.core.ids import Id
from tenantry.ports import StoreBusy, StoreConflict, StoreRejected
from tenantry.store.seam import Driver, Found, Raw, Relation, Value
from tenantry.store.types import IdColumn, Instant, from_micros, micros

K = TypeVar("K", bound=Id)
PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    }
)  # of the world, not of the statement: everything else is a bug and is raised as it is


class SqliteSeam:
    """Implements seam.Seam."""

    name = "sqlite"
    instant = "bigint"
    errors: tuple[type[Exception], ...] = (sqlite3.Error, OverflowError, UnicodeEncodeError)

    def __init__(self, wall: Callable[[], datetime]) -> None:
        """Take the clock that tells the time."""
        self._wall = wall

    async def now(self, conn: AsyncConnection) -> datetime:
        """See Seam."""
        return self._wall()

    async def driver(self, conn: AsyncConnection) -> Driver:
        """See Seam."""
        connection = (await conn.get_raw_connection()).driver_connection
        assert isinstance(connection, aiosqlite.Connection)
        return SqliteDriver(connection)

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
        converted = [(place, kind) for place, (_, kind) in enumerate(given.columns) if kind in _CONVERTERS]
        rows = _converted(given.rows, converted)
        return f"(SELECT {columns} FROM json_each(:{given.name})) AS {given.name}", {given.name: json.dumps(rows)}

    def port_error(self, error: Exception) -> Exception | None:
        """See Seam."""
        if isinstance(error, sqlite3.IntegrityError):
            return StoreConflict(str(error))
        if isinstance(error, sqlite3.DataError | OverflowError | UnicodeEncodeError):
            return StoreRejected(str(error))
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return StoreBusy(str(error)) if isinstance(error, sqlite3.OperationalError) and code in PASSING else None


class SqliteDriver:
    """Implements seam.Driver with one hop to SQLite's thread a statement."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        """Take the connection inside SQLAlchemy's transaction."""
        self._connection = connection

    async def fetch(self, sql: str, bound: dict[str, object]) -> Found:
        """See Driver."""
        return list(await self._connection.execute_fetchall(sql, bound))

    async def insert(self, table: Table, columns: str, rows: Sequence[Sequence[Value]]) -> None:
        """See Driver."""
        sql, converted = _insert(table, columns)
        await self._connection.executemany(sql, _converted(rows, converted))


@lru_cache
def _insert(table: Table, columns: str) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Return the statement, and which of its columns need another form."""
    names = [name.strip() for name in columns.split(",")]
    kinds = [table.c[name].type for name in names]
    converted = tuple(
        (place, "uuid" if isinstance(kind, IdColumn) else "timestamptz")
        for place, kind in enumerate(kinds)
        if isinstance(kind, IdColumn | Instant)
    )
    return f"INSERT INTO {table.name} ({columns}) VALUES ({', '.join('?' * len(names))})", converted


def _digits(ids: Sequence[object]) -> list[object]:
    return [one.rpartition("_")[2] if isinstance(one, str) else None for one in ids]


def _instants(times: Sequence[object]) -> list[object]:
    known: dict[object, object] = {None: None}  # a batch shares few times
    for at in times:
        if at not in known:
            assert isinstance(at, datetime)
            known[at] = micros(at)
    return [known[at] for at in times]


_CONVERTERS = {"uuid": _digits, "timestamptz": _instants}


def _converted(rows: Sequence[Sequence[Value]], converted: Sequence[tuple[int, str]]) -> list[tuple[object, ...]]:
    """Return rows with the columns named (place, kind) in SQLite's form."""
    by_column: list[Sequence[object]] = list(zip(*rows, strict=True))
    if not by_column:
        return []
    for place, kind in converted:
        by_column[place] = _CONVERTERS[kind](by_column[place])
    return list(zip(*by_column, strict=True))
