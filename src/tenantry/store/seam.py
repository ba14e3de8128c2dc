"""Owns what differs between SQLite and PostgreSQL: raw values, relations of parameters, bulk inserts.

Leaves each statement's meaning to the query modules, which are written once for both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import Row, Table
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils import uuid7

from tenantry.core.ids import CellId, Id
from tenantry.store.roles import Acting
from tenantry.store.types import micros

K = TypeVar("K", bound=Id)
REFUSED_LATELY = timedelta(seconds=10)  # twice the longest rest of a loop that writes
CHANNEL = "tenantry"  # on which PostgreSQL tells workers of mail for an idle lane
DbRow = Row[*tuple[Any, ...]]  # the one place where a driver's untyped values come in; readers give them types
DriverRow = Sequence[Any]
Found = list[DriverRow]
Raw = str | int | float | bool | bytes | datetime | UUID | None
Value = Id | Raw


class Relation(NamedTuple):
    """Rows of parameters that a statement joins with: `name(column type, ...)` and the rows.

    Types are PostgreSQL's names (uuid, text, bigint, float8, timestamptz); SQLite needs none.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: Sequence[Sequence[Value]]


def relation(shape: str, rows: Sequence[Sequence[Value]]) -> Relation:
    """Read `w(message_id uuid, number bigint)` as a relation of these rows."""
    return Relation(*_shape(shape), rows)


@lru_cache
def _shape(shape: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    name, _, columns = shape.rstrip(")").partition("(")
    return name, tuple((column.split()[0], column.split()[1]) for column in columns.split(","))


class Insert(NamedTuple):
    """Rows for one table, column by column: the names, and under each the values of all rows."""

    table: Table
    names: str
    columns: Sequence[Sequence[Value]]


class Driver(Protocol):
    """A driver's connection, for transactions and for the statements that are made most often."""

    looked: set[CellId]  # for which cells somebody looked whether the database behind it went back in time

    @property
    def usable(self) -> bool:
        """Whether the connection is open, as far as is known here."""
        ...

    async def begin(self, acting: Acting, *, writes: bool) -> None:
        """Begin a transaction, as the role that it acts as."""
        ...

    async def commit(self) -> None:
        """Commit; what is reported as done is on stable storage."""
        ...

    async def rollback(self) -> None:
        """Undo the transaction; none is fine."""
        ...

    @property
    def pending(self) -> bool:
        """Whether statements wait to go with the next one."""
        ...

    async def fetch(self, sql: str, bound: dict[str, object]) -> Found:
        """Execute what waits, then one statement with `:name` parameters, already raw, and return its rows."""
        ...

    async def flush(self) -> None:
        """Execute what waits."""
        ...

    def later(self, sql: str, bound: dict[str, object]) -> None:
        """Execute a statement whose rows nobody asks for together with what follows, at the latest with the commit."""
        ...

    def insert(self, given: Sequence[Insert]) -> None:
        """Insert many rows into each of these tables, in this order, together with what follows."""
        ...


class Seam(Protocol):
    """One database's ways; every query module speaks to it through Queries below."""

    name: str
    instant: str  # the SQL type of a time, where a statement must say it
    errors: tuple[type[Exception], ...]  # what the driver raises, bugs of ours among them
    walls: bool  # whether transactions take roles

    @property
    def clock(self) -> str:
        """The SQL of the present time; NULL where it is the step's own."""
        ...

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

    async def driver(self, conn: AsyncConnection) -> Driver:
        """Return the driver's own connection, as it stands under SQLAlchemy's."""
        ...

    def port_error(self, error: Exception) -> Exception | None:
        """Return the port's error for a driver's, or None when it is a bug of ours."""
        ...

    def wall(self) -> datetime | None:
        """Return the time where it is not the database's, None where it is."""
        ...

    def is_of_disk(self, error: BaseException | None) -> bool:
        """Say whether the database's disk or memory failed it, so that nothing is written until that ends."""
        ...

    async def now(self, driver: Driver, lock: CellId | None) -> datetime:
        """Take the step's lock and return its time, read after that."""
        ...


@dataclass(slots=True)
class Refusals:
    """The last time that the database could not write for want of its disk or memory, shared by all of a store's steps."""

    at: datetime | None = None
    words: str = ""

    def lately(self, now: datetime) -> str:
        """Return what the database said, while that is recent; empty otherwise."""
        return (
            self.words if self.at is not None and abs(now - self.at) < REFUSED_LATELY else ""
        )  # it may go on beside us


class Queries:
    """What every query module of a step builds on: the connection, the step's time and ids, and the seam."""

    driver: Driver
    now: datetime
    seam: Seam
    _conn: AsyncConnection

    @property
    def conn(self) -> AsyncConnection:
        """SQLAlchemy's side of the connection, which knows nothing of statements that wait at the driver."""
        assert not self.driver.pending, "flush first: SQLAlchemy's statement would overtake those that wait"
        return self._conn

    def new_id(self, kind: type[K]) -> K:
        """Make an id whose time is the step's."""
        return str.__new__(kind, f"{kind.prefix}_{uuid7(nanoseconds=micros(self.now) * 1000).hex}")

    def jitter(self) -> float:
        """Return a number from [0.5, 1.5), so that retries do not march in step."""
        return 0.5 + int.from_bytes(os.urandom(4)) / 2**32

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name of the database."""
        return self.seam.name

    async def run(self, sql: str, *relations: Relation, **params: Value) -> Found:
        """Execute one statement on the driver; `{w}` in it stands for the relation named w, `:name` for a parameter.

        What SQLAlchemy adds to each statement is left out here, since turns and commits are made of some twenty.
        """
        return await self.driver.fetch(*self._written(sql, relations, params))

    def later(self, sql: str, *relations: Relation, **params: Value) -> None:
        """Do what run does for a statement without rows, together with what follows: a hop to SQLite's thread less."""
        self.driver.later(*self._written(sql, relations, params))

    def _written(
        self, sql: str, relations: Sequence[Relation], params: Mapping[str, Value]
    ) -> tuple[str, dict[str, object]]:
        fragments = {"instant": self.seam.instant, "clock": self.seam.clock}
        bound: dict[str, object] = {name: self.seam.raw(value) for name, value in params.items()}
        for given in relations:
            fragments[given.name], more = self.seam.relation(given)
            bound.update(more)
        return (sql.format_map(fragments) if "{" in sql else sql), bound

    def in_order(self, table: str, *keys: str) -> str:
        """Return relation w as a FROM item that locks w's rows of this table one by one, in the order of the keys.

        Settle and ingest write the same rows, and a plan takes them in any order: they would wait for one another. SQLite
        has one writer.
        """
        if self.seam.name == "sqlite":
            return "{w}"
        same = " AND ".join(f"held.{key} = w.{key}" for key in keys)
        order = ", ".join(f"held.{key}" for key in keys)
        return f"(SELECT w.* FROM {{w}} JOIN {table} held ON {same} ORDER BY {order} FOR UPDATE OF held) w"

    async def insert(self, table: Table, columns: str, rows: Sequence[Sequence[Value]]) -> None:
        """Insert rows given in the order of the columns; none is fine."""
        if rows:
            self.insert_later(Insert(table, columns, list(zip(*rows, strict=True))))
            await self.driver.flush()

    def insert_later(self, *given: Insert) -> None:
        """Insert into several tables in this order, together with what follows; no rows for one of them are fine."""
        self.driver.insert([one for one in given if one.columns[0]])
