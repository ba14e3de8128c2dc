"""Owns PostgreSQL's ways: ids are uuids, times are timestamptz, relations are arrays; see seam.py for the promise of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import TypeVar

import asyncpg
from sqlalchemy import Table, event
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tenantry.core.ids import CellId, Id
from tenantry.ports import StoreBusy, StoreConflict, StoreInDoubt, StoreRejected
from tenantry.store.roles import Acting, Role
from tenantry.store.seam import Driver, Found, Insert, Raw, Relation, Value
from tenantry.store.types import IdColumn, Instant

K = TypeVar("K", bound=Id)
PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
BUG = "42"  # the class of wrong statements
DISK = ("53100", "53200", "58030")  # disk full, out of memory, I/O error
LOST = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # how asyncpg stumbles over a server that ended an idle transaction
    OSError,
)
NOTICE_SECONDS = 1.5  # beginning and undoing wait for nobody: whoever has not answered by then is not there
PARTS = "WITH "  # how a statement of parts begins
TIME = "SELECT clock_timestamp()"
LOCKED_TIME = (  # told of what the lock lets through, in the same round trip
    "SELECT clock_timestamp() FROM (SELECT 1) one LEFT JOIN (SELECT 1 FROM cell WHERE id = :id FOR UPDATE) held ON true"
)


def ids_as_digits(engine: AsyncEngine) -> None:
    """Let uuids travel as hex digits on every connection: building a UUID for each id cost a sixth of a message.

    Also keep lost connections out of use: statements go to the driver itself, so that SQLAlchemy does not see its errors.
    """

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: AsyncAdapt_asyncpg_connection, _record: object) -> None:
        connection.run_async(_ids_as_digits)

    @event.listens_for(engine.sync_engine, "checkout")
    def check(connection: AsyncAdapt_asyncpg_connection, _record: object, _proxy: object) -> None:
        if connection.driver_connection.is_closed():
            raise DisconnectionError("a lost connection: the pool makes another in its place")


async def _ids_as_digits(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", encoder=bytes.fromhex, decoder=bytes.hex, format="binary"
    )


class PostgresSeam:
    """Implements seam.Seam."""

    name = "postgresql"
    instant = "timestamptz"
    errors: tuple[type[Exception], ...] = (*LOST, OverflowError, UnicodeEncodeError)

    def __init__(self, offset: timedelta, *, walls: bool = True) -> None:
        """Take what is added to the database's time (only tests give more than nothing), and whether roles are taken."""
        self.offset = offset
        self.walls = walls

    @property
    def clock(self) -> str:
        """See Seam."""
        shifted = f" + interval '{self.offset.total_seconds()} seconds'" if self.offset else ""
        return f"clock_timestamp(){shifted}"

    def wall(self) -> datetime | None:
        """See Seam."""
        return None

    async def now(self, driver: Driver, lock: CellId | None) -> datetime:
        """See Seam."""
        found = await driver.fetch(
            TIME if lock is None else LOCKED_TIME, {} if lock is None else {"id": self.raw(lock)}
        )
        at = found[0][0]
        assert isinstance(at, datetime)
        return at + self.offset

    async def driver(self, conn: AsyncConnection) -> Driver:
        """See Seam."""
        connection = (await conn.get_raw_connection()).driver_connection
        assert isinstance(connection, asyncpg.Connection)
        return PostgresDriver(connection, self)

    def raw(self, value: Value) -> Raw:
        """See Seam."""
        return value.rpartition("_")[2] if isinstance(value, Id) else value

    def id(self, kind: type[K], value: object) -> K:
        """See Seam."""
        return str.__new__(kind, f"{kind.prefix}_{value}")

    def at(self, value: object) -> datetime:
        """See Seam."""
        assert isinstance(value, datetime)
        return value

    def relation(self, given: Relation) -> tuple[str, dict[str, object]]:
        """See Seam."""
        text, names = _unnest(given.name, given.columns)
        columns: Iterable[Sequence[Value]] = zip(*given.rows, strict=True) if given.rows else [()] * len(names)
        arrays = [_array(kind, column) for (_, kind), column in zip(given.columns, columns, strict=True)]
        return text, dict(zip(names, arrays, strict=True))

    def port_error(self, error: Exception) -> Exception | None:
        """See Seam."""
        state = getattr(error, "sqlstate", None) or ""
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            return StoreConflict(str(error))
        if state.startswith("22") or isinstance(error, asyncpg.DataError | OverflowError | UnicodeEncodeError):
            return StoreRejected(str(error))
        if isinstance(error, LOST) and not state.startswith(BUG):
            return StoreBusy(str(error))
        return None

    def is_of_disk(self, error: BaseException | None) -> bool:
        """See Seam."""
        return getattr(error, "sqlstate", None) in DISK


Later = Insert | tuple[str, dict[str, object]]


class PostgresDriver:
    """Implements seam.Driver on asyncpg, whose prepared statements make repeated ones cheap."""

    def __init__(self, connection: asyncpg.Connection, seam: PostgresSeam) -> None:
        """Take the connection under SQLAlchemy's."""
        self.looked: set[CellId] = set()
        self._connection = connection
        self._seam = seam
        self._later: list[Later] = []
        self._accepts = False  # the connection is accept's, and so is its role

    @property
    def usable(self) -> bool:
        """See Driver."""
        return not self._connection.is_closed()

    async def begin(self, acting: Acting, *, writes: bool) -> None:
        """See Driver; accept's begins with its first write, and is one statement where that can be all of it.

        What it reads before would not be held until the commit by a transaction either (READ COMMITTED).
        """
        if acting.role is not Role.ACCEPT:
            await self._connection.execute(_begin(acting) if self._seam.walls else "BEGIN", timeout=NOTICE_SECONDS)
        elif self._seam.walls and not self._accepts:
            await self._connection.execute(f"SET ROLE {acting.role.value}", timeout=NOTICE_SECONDS)
            self._accepts = True

    async def commit(self) -> None:
        """See Driver."""
        sql, given = await self._last()
        if not sql:
            return
        try:
            await self._connection.execute(sql, *given)
        except LOST as error:
            if isinstance(error, asyncpg.PostgresError) and self.usable:
                raise  # the server said no
            raise StoreInDoubt(f"The connection was lost at the commit: {error}") from error

    async def _last(self) -> tuple[str, Sequence[object]]:
        """Return the statement that commits, everything before it done; none where nothing was begun."""
        if not self._connection.is_in_transaction():
            if not self._later:
                return "", ()
            if alone := _alone(self._later):
                self._later = []
                return alone
        await self.flush()
        return "COMMIT", ()

    async def rollback(self) -> None:
        """See Driver."""
        self._later.clear()
        if self._connection.is_closed():
            raise asyncpg.InterfaceError("the connection is closed")
        if self._connection.is_in_transaction():
            await self._connection.execute("ROLLBACK", timeout=NOTICE_SECONDS)

    async def fetch(self, sql: str, bound: dict[str, object]) -> Found:
        """See Driver."""
        if self._later:
            await self.flush()
        numbered, names = _numbered(sql)
        return list(await self._connection.fetch(numbered, *[bound[name] for name in names]))

    @property
    def pending(self) -> bool:
        """See Driver."""
        return bool(self._later)

    async def flush(self) -> None:
        """See Driver; inserts that wait in a row are one statement and one round trip."""
        later, self._later = self._later, []
        if later and not self._connection.is_in_transaction():
            await self._connection.execute("BEGIN", timeout=NOTICE_SECONDS)
        for are_inserts, group in groupby(later, lambda one: isinstance(one, Insert)):
            if are_inserts:
                inserts = [one for one in group if isinstance(one, Insert)]
                sql, kinds = _inserts(tuple((one.table, one.names) for one in inserts))
                columns = [column for one in inserts for column in one.columns]
                await self._connection.execute(sql, *map(_array, kinds, columns))
                continue
            for one in group:
                assert not isinstance(one, Insert)
                numbered, names = _numbered(one[0])
                await self._connection.execute(numbered, *[one[1][name] for name in names])

    def later(self, sql: str, bound: dict[str, object]) -> None:
        """See Driver."""
        self._later.append((sql, bound))

    def insert(self, given: Sequence[Insert]) -> None:
        """See Driver."""
        self._later.extend(given)


def _begin(acting: Acting) -> str:
    """Begin as a role, for as long as the transaction lasts, in the one round trip that beginning takes."""
    tenant = "" if acting.tenant_id is None else acting.tenant_id.uuid.hex  # checked: it stands in the statement's text
    return f"BEGIN; SET LOCAL ROLE {acting.role.value}; SET LOCAL tenantry.tenant = '{tenant}'"


def _alone(later: Sequence[Later]) -> tuple[str, Sequence[object]] | None:
    """Return what waits as one statement, if it is inserts and at most one statement of parts behind them."""
    inserts = [one for one in later if isinstance(one, Insert)]
    rest = later[len(inserts) :]
    columns = [column for one in inserts for column in one.columns]
    tables = tuple((one.table, one.names) for one in inserts)
    if not rest:
        sql, kinds = _inserts(tables)
        return sql, list(map(_array, kinds, columns))
    (sql, bound), *more = (one for one in later if not isinstance(one, Insert))
    if more or rest[0] is not later[-1] or not sql.startswith(PARTS):
        return None
    sql, kinds, names = _inserts_and(tables, sql)
    return sql, [*map(_array, kinds, columns), *(bound[name] for name in names)]


@lru_cache(maxsize=512)
def _numbered(sql: str, before: int = 0) -> tuple[str, tuple[str, ...]]:
    """Turn `:name` into `$1`, each name once, beginning behind so many others."""
    names: dict[str, int] = {}
    numbered = PARAMETER.sub(lambda found: f"${names.setdefault(found[1], before + len(names) + 1)}", sql)
    return numbered, tuple(names)


def _array(kind: str, column: Sequence[Value]) -> Sequence[object]:
    """Return the values of a column as the driver wants them: ids as digits, everything else as it is."""
    if kind == "uuid":
        return [value.rpartition("_")[2] if isinstance(value, str) else value for value in column]
    return column


@lru_cache
def _unnest(name: str, columns: tuple[tuple[str, str], ...]) -> tuple[str, tuple[str, ...]]:
    names = tuple(f"{name}_{place}" for place in range(len(columns)))
    arrays = ", ".join(f"CAST(:{array} AS {kind}[])" for array, (_, kind) in zip(names, columns, strict=True))
    return f"unnest({arrays}) AS {name}({', '.join(column for column, _ in columns)})", names


@lru_cache
def _inserts(given: tuple[tuple[Table, str], ...]) -> tuple[str, tuple[str, ...]]:
    """Return one statement that inserts into all of these tables, and the types of its arrays."""
    texts, kinds = _parts(given)
    named = ", ".join(f"part{number} AS ({text})" for number, text in enumerate(texts[:-1]))
    return f"WITH {named} {texts[-1]}" if named else texts[-1], kinds


@lru_cache
def _inserts_and(given: tuple[tuple[Table, str], ...], sql: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return one statement that inserts into these tables and does what `WITH ...` says, its types and its names."""
    texts, kinds = _parts(given)
    numbered, names = _numbered(sql, len(kinds))
    named = "".join(f"part{number} AS ({text}), " for number, text in enumerate(texts))
    return f"{PARTS}{named}{numbered.removeprefix(PARTS)}", kinds, names


def _parts(given: tuple[tuple[Table, str], ...]) -> tuple[Sequence[str], tuple[str, ...]]:
    all_kinds: list[str] = []
    texts: list[str] = []
    for table, columns in given:
        kinds = [_type(table, name.strip()) for name in columns.split(",")]
        arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(kinds, start=len(all_kinds) + 1))
        texts.append(f"INSERT INTO {table.name} ({columns}) SELECT * FROM unnest({arrays})")
        all_kinds += kinds
    return texts, tuple(all_kinds)


_TYPES = {"TEXT": "text", "INTEGER": "int", "BIGINT": "bigint", "FLOAT": "float8", "BOOLEAN": "bool", "BLOB": "bytea"}


def _type(table: Table, name: str) -> str:
    kind = table.c[name].type
    if isinstance(kind, IdColumn):
        return "uuid"
    return "timestamptz" if isinstance(kind, Instant) else _TYPES[str(kind)]
