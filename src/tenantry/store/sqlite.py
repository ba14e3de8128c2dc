"""Owns SQLite's ways: ids are hex text, times are microseconds, relations are JSON; see seam.py for the promise of each."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import TypeVar, cast

import aiosqlite
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.core.ids import CellId, Id
from tenantry.ports import StoreBusy, StoreConflict, StoreInDoubt, StoreRejected
from tenantry.store.roles import Acting, Role
from tenantry.store.seam import Driver, Found, Insert, Raw, Relation, Value
from tenantry.store.types import IdColumn, Instant, from_micros, micros

K = TypeVar("K", bound=Id)
ROWS_MOST = 64  # of one INSERT
ROWS_STEP = 8
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


DISK = PASSING - {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


class SqliteSeam:
    """Implements seam.Seam."""

    name = "sqlite"
    walls = False
    instant = "bigint"
    clock = "NULL"
    errors: tuple[type[Exception], ...] = (sqlite3.Error, OverflowError, UnicodeEncodeError)

    def __init__(self, wall: Callable[[], datetime]) -> None:
        """Take the clock that tells the time."""
        self._wall = wall

    def wall(self) -> datetime | None:
        """See Seam."""
        return self._wall()

    async def now(self, driver: Driver, lock: CellId | None) -> datetime:
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
            return value[-32:]
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
        item, converted = _from_item(given.name, given.columns)
        rows = zip(*_converted(list(zip(*given.rows, strict=True)), converted), strict=True) if given.rows else ()
        return item, {given.name: _json(list(rows))}

    def port_error(self, error: Exception) -> Exception | None:
        """See Seam."""
        if isinstance(error, sqlite3.IntegrityError):
            return StoreConflict(str(error))
        if isinstance(error, sqlite3.DataError | OverflowError | UnicodeEncodeError):
            return StoreRejected(str(error))
        passing = isinstance(error, sqlite3.OperationalError) and _code(error) in PASSING
        return StoreBusy(str(error)) if passing else None

    def is_of_disk(self, error: BaseException | None) -> bool:
        """See Seam."""
        return isinstance(error, sqlite3.OperationalError) and _code(error) in DISK


def _code(error: sqlite3.Error) -> int:
    """Return the primary code, without what extends it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class SqliteDriver:
    """Implements seam.Driver with one hop to SQLite's thread a call, and none for what nobody waits for."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        """Take the connection under SQLAlchemy's."""
        self.looked: set[CellId] = set()
        self._connection = connection
        self._later: list[Statement] = []

    @property
    def usable(self) -> bool:
        """See Driver."""
        return True  # a file does not go away

    async def begin(self, acting: Acting, *, writes: bool) -> None:
        """See Driver; whoever writes waits for nobody here, so that accept's begin may go with its first statement."""
        self._later.append(("BEGIN IMMEDIATE" if writes else "BEGIN", ()))
        if not (writes and acting.role is Role.ACCEPT):
            await self.flush()

    async def commit(self) -> None:
        """See Driver."""
        await self._hop(_commit, self._taken())

    async def rollback(self) -> None:
        """See Driver."""
        self._later.clear()
        await self._connection.rollback()

    @property
    def pending(self) -> bool:
        """See Driver."""
        return bool(self._later)

    async def fetch(self, sql: str, bound: dict[str, object]) -> Found:
        """See Driver."""
        self._later.append((sql, bound))
        return await self._hop(_fetch, self._taken())

    async def flush(self) -> None:
        """See Driver."""
        if self._later:
            await self._hop(_fetch, self._taken())

    def later(self, sql: str, bound: dict[str, object]) -> None:
        """See Driver."""
        self._later.append((sql, bound))

    def insert(self, given: Sequence[Insert]) -> None:
        """See Driver."""
        for one in given:
            self._later.extend(_statements(one))

    def _taken(self) -> list[Statement]:
        later, self._later = self._later, []
        return later

    async def _hop(
        self, work: Callable[[sqlite3.Connection, list[Statement]], Found], statements: list[Statement]
    ) -> Found:
        """Work in SQLite's thread; aiosqlite has no public way to do several statements in one hop."""
        connection = self._connection
        return cast(Found, await connection._execute(work, connection._conn, statements))  # type: ignore[no-untyped-call]


Statement = tuple[str, Sequence[object] | dict[str, object]]


def _fetch(connection: sqlite3.Connection, statements: list[Statement]) -> Found:
    """Execute statements and return the rows of the last."""
    rows: Found = []
    last = len(statements) - 1
    for place, (sql, bound) in enumerate(statements):
        done = connection.execute(sql, bound)
        if place == last:
            rows = done.fetchall()
    return rows


def _commit(connection: sqlite3.Connection, statements: list[Statement]) -> Found:
    for sql, bound in statements:
        connection.execute(sql, bound)
    try:
        connection.commit()
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_IOERR:
            raise
        # all of it may stand in the log, and be found there after a crash
        raise StoreInDoubt(f"The disk failed at the commit: {error}") from error
    return []


_json = json.JSONEncoder(separators=(",", ":")).encode


@lru_cache
def _from_item(name: str, columns: tuple[tuple[str, str], ...]) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Return a relation's FROM item, and which of its columns need another form."""
    listed = ", ".join(f"value ->> {place} AS {column}" for place, (column, _) in enumerate(columns))
    converted = tuple((place, kind) for place, (_, kind) in enumerate(columns) if kind in _CONVERTERS)
    return f"(SELECT {listed} FROM json_each(:{name})) AS {name}", converted


def _statements(given: Insert) -> Iterator[Statement]:
    """Insert as many rows a statement as can be: SQLite's thread takes Python's lock once for each."""
    columns = _converted(given.columns, _columns_converted(given.table, given.names))
    rows = list(zip(*columns, strict=True))
    start = 0
    while start < len(rows):
        left = len(rows) - start
        count = min(ROWS_MOST, left if left < ROWS_STEP else left - left % ROWS_STEP)  # few statements to prepare
        bound = list(chain.from_iterable(rows[start : start + count]))
        yield _insert(given.table, given.names, count), bound
        start += count


@lru_cache
def _columns_converted(table: Table, columns: str) -> tuple[tuple[int, str], ...]:
    """Return which of the columns need another form."""
    kinds = [table.c[name.strip()].type for name in columns.split(",")]
    return tuple(
        (place, "uuid" if isinstance(kind, IdColumn) else "timestamptz")
        for place, kind in enumerate(kinds)
        if isinstance(kind, IdColumn | Instant)
    )


@lru_cache(maxsize=512)
def _insert(table: Table, columns: str, count: int) -> str:
    row = f"({', '.join('?' * (columns.count(',') + 1))})"
    return f"INSERT INTO {table.name} ({columns}) VALUES {', '.join([row] * count)}"


def _digits(ids: Sequence[object]) -> list[object]:
    return [one[-32:] if isinstance(one, str) else None for one in ids]


def _instants(times: Sequence[object]) -> list[object]:
    converted: list[object] = []
    last: datetime | None = None
    last_micros: int | None = None  # a column is mostly one object, the time of the step
    for at in times:
        if at is not last:
            assert at is None or isinstance(at, datetime)
            last, last_micros = at, None if at is None else micros(at)
        converted.append(last_micros)
    return converted


_CONVERTERS = {"uuid": _digits, "timestamptz": _instants}


def _converted(columns: Sequence[Sequence[Value]], converted: Sequence[tuple[int, str]]) -> list[Sequence[object]]:
    """Return columns, those named (place, kind) in SQLite's form."""
    found: list[Sequence[object]] = list(columns)
    for place, kind in converted:
        found[place] = _CONVERTERS[kind](found[place])
    return found
