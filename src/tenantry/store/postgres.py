"""Owns PostgreSQL's ways: ids are uuids, times are timestamptz, relations are arrays; see seam.py for the promise of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TypeVar
from uuid import UUID

import asyncpg
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.core.ids import Id
from tenantry.ports import StoreBusy, StoreConflict, StoreRejected
from tenantry.store.seam import Driver, Found, Insert, Raw, Relation, Value
from tenantry.store.types import IdColumn, Instant

K = TypeVar("K", bound=Id)
PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
BUG = "42"  # the class of wrong statements


class PostgresSeam:
    """Implements seam.Seam."""

    name = "postgresql"
    instant = "timestamptz"
    errors: tuple[type[Exception], ...] = (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        OSError,
        OverflowError,
        UnicodeEncodeError,
    )

    def __init__(self, offset: timedelta) -> None:
        """Take what is added to the database's time; only tests give more than nothing."""
        self.offset = offset

    async def now(self, driver: Driver) -> datetime:
        """See Seam."""
        at = (await driver.fetch("SELECT clock_timestamp()", {}))[0][0]
        assert isinstance(at, datetime)
        return at + self.offset

    async def driver(self, conn: AsyncConnection) -> Driver:
        """See Seam."""
        connection = (await conn.get_raw_connection()).driver_connection
        assert isinstance(connection, asyncpg.Connection)
        return PostgresDriver(connection, self)

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
        lists = self.columns(given.rows, len(names))
        return f"unnest({arrays}) AS {given.name}({columns})", dict(zip(names, lists, strict=True))

    def columns(self, rows: Sequence[Sequence[Value]], count: int) -> Iterable[list[Raw]]:
        """Turn rows into one array a column."""
        if not rows:
            return [[] for _ in range(count)]
        return [[self.raw(value) for value in column] for column in zip(*rows, strict=True)]

    def port_error(self, error: Exception) -> Exception | None:
        """See Seam."""
        state = getattr(error, "sqlstate", None) or ""
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            return StoreConflict(str(error))
        if state.startswith("22") or isinstance(error, asyncpg.DataError | OverflowError | UnicodeEncodeError):
            return StoreRejected(str(error))
        if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError) and not state.startswith(BUG):
            return StoreBusy(str(error))
        return None


class PostgresDriver:
    """Implements seam.Driver on asyncpg, whose prepared statements make repeated ones cheap."""

    def __init__(self, connection: asyncpg.Connection, seam: PostgresSeam) -> None:
        """Take the connection under SQLAlchemy's."""
        self._connection = connection
        self._seam = seam

    @property
    def usable(self) -> bool:
        """See Driver."""
        return not self._connection.is_closed()

    async def begin(self) -> None:
        """See Driver."""
        await self._connection.execute("BEGIN")

    async def commit(self) -> None:
        """See Driver."""
        await self._connection.execute("COMMIT")

    async def rollback(self) -> None:
        """See Driver."""
        if self._connection.is_in_transaction():
            await self._connection.execute("ROLLBACK")

    async def fetch(self, sql: str, bound: dict[str, object]) -> Found:
        """See Driver."""
        numbered, names = _numbered(sql)
        return list(await self._connection.fetch(numbered, *(bound[name] for name in names)))

    async def insert(self, given: Sequence[Insert]) -> None:
        """See Driver."""
        for one in given:
            arrays = [[self._seam.raw(value) for value in column] for column in one.columns]
            await self._connection.execute(_insert(one.table, one.names), *arrays)


@lru_cache(maxsize=512)
def _numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """Turn `:name` into `$1`, each name once."""
    names: dict[str, int] = {}
    numbered = PARAMETER.sub(lambda found: f"${names.setdefault(found[1], len(names) + 1)}", sql)
    return numbered, tuple(names)


@lru_cache
def _insert(table: Table, columns: str) -> str:
    names = [name.strip() for name in columns.split(",")]
    arrays = ", ".join(f"${place}::{_type(table, name)}[]" for place, name in enumerate(names, start=1))
    return f"INSERT INTO {table.name} ({columns}) SELECT * FROM unnest({arrays})"


_TYPES = {"TEXT": "text", "INTEGER": "int", "BIGINT": "bigint", "FLOAT": "float8", "BOOLEAN": "bool", "BLOB": "bytea"}


def _type(table: Table, name: str) -> str:
    kind = table.c[name].type
    if isinstance(kind, IdColumn):
        return "uuid"
    return "timestamptz" if isinstance(kind, Instant) else _TYPES[str(kind)]
