"""Owns opening a database: which one, engines, pragmas, the one-process lock on SQLite; leaves transactions to store.py."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import aiosqlite
from sqlalchemy import URL, event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tenantry.ports import StoreBusy, StoreUnfit
from tenantry.store.fitness import check_postgres, saying_why
from tenantry.store.migrate import migrate
from tenantry.store.postgres import PostgresSeam, ids_as_digits
from tenantry.store.recovery import ClaimMark
from tenantry.store.roles import Role
from tenantry.store.sqlite import SqliteSeam
from tenantry.store.store import Store
from tenantry.store.vault import Vault
from tenantry.store.writing import Lines, Writer

READERS = 4  # of SQLite
BUSY_MILLISECONDS = 5_000
SQLITE_SECONDS = 30.0  # one writes at a time: whoever waits, waits for somebody's disk
POOL_SECONDS = 1.5  # with CONNECT_SECONDS under the five in which a door answers, be it 503
CONNECT_SECONDS = 2.0
ACCEPT_STATEMENT_SECONDS = (
    3.0  # a commit of accepted mail takes milliseconds: whoever waits longer is told to try again
)
POSTGRES = ("postgresql", "postgres")
BY_KEY = dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan"), "off")
"""How PostgreSQL plans what writes: row by row through an index, as every statement of a turn, a commit or a batch of events
is meant. By its own estimates, which lag behind a queue that grows in minutes, it reads whole tables instead: with 100,000
messages waiting a turn cost five times as much, and the accepting and reporting of mail the same; or it gathers and sorts a
whole lane to find its head, which took 240 ms with 1,000,000 messages in it."""
TLS_FILES = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})


class DriverConnection(Protocol):
    """What a new connection offers to set it up."""

    def cursor(self) -> object:
        """Open a cursor."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process may take of a PostgreSQL, in connections and seconds."""

    writers: int = 6
    readers: int = 4
    accept: int = 2  # its own, so that nobody who reads can keep mail from being committed
    statement_seconds: float = 30.0
    lock_seconds: float = 3.0
    idle_seconds: float = 5.0  # a process that stops inside a turn holds its cell's lock no longer


@dataclass(frozen=True, slots=True)
class Opening:
    """How to open a store; wall tells SQLite the time, offset shifts PostgreSQL's (for tests only).

    roles are those that this process takes on PostgreSQL; none: no walls inside the database.
    """

    url: str
    vault: Vault
    wall: Callable[[], datetime]
    offset: timedelta = field(default_factory=timedelta)
    create: bool = True  # bring the schema up to date first
    connect: Callable[..., aiosqlite.Connection] | None = None  # to SQLite, for the simulation; none: a thread for each
    roles: Collection[Role] = tuple(Role)
    limits: Limits = field(default_factory=Limits)
    name: str = "tenantry"  # as which PostgreSQL shows its connections


async def open_store(opening: Opening) -> Store:
    """Open the database at a SQLAlchemy URL (sqlite:///path or postgresql://...).

    Raises StoreBusy when it cannot be had now, StoreUnfit when it cannot be used as it is, saying what to do.
    """
    url = read_url(opening.url)
    return await (_open_sqlite(opening, url) if url.get_backend_name() == "sqlite" else _open_postgres(opening, url))


def read_url(given: str) -> URL:
    """Read a database's URL, with the driver that is used here, or raise StoreUnfit; no password is repeated."""
    try:
        url = make_url(given)
    except ArgumentError as error:
        raise StoreUnfit(
            "TENANTRY_DATABASE_URL is no URL: give sqlite:///path or postgresql://user:password@host/name."
        ) from error
    kind = url.drivername.partition("+")[0]
    if kind == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite")
    if kind in POSTGRES:
        return _asyncpg_url(url)
    if kind == "sqlite":
        raise StoreUnfit("TENANTRY_DATABASE_URL names no file: give sqlite:///path, mail must be on a disk.")
    raise StoreUnfit(f"TENANTRY_DATABASE_URL begins with {kind}: there are sqlite:///path and postgresql://... only.")


def _asyncpg_url(url: URL) -> URL:
    """Return the URL for asyncpg, which calls libpq's sslmode ssl, and reads files of TLS from libpq's variables alone."""
    query = dict(url.query)
    for name in TLS_FILES & query.keys():
        raise StoreUnfit(f"TENANTRY_DATABASE_URL cannot say {name}: set the variable PG{name.upper()} instead.")
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    return url.set(drivername="postgresql+asyncpg", query=query)


async def _open_sqlite(opening: Opening, url: URL) -> Store:
    path = Path(url.database or "")
    lock = lock_file(path)
    try:
        if opening.create:
            with saying_why():
                await asyncio.to_thread(migrate, f"sqlite:///{path}")
    except BaseException:
        os.close(lock)
        raise
    seam = SqliteSeam(opening.wall)
    connect = {} if opening.connect is None else {"async_creator_fn": opening.connect}
    writers = Writer(_sqlite_engine(path, connect, 1), seam, 1, SQLITE_SECONDS)
    readers = Writer(_sqlite_engine(path, connect, READERS), seam, READERS, SQLITE_SECONDS)
    mark = ClaimMark(path)

    def close() -> None:
        mark.close()
        os.close(lock)

    return Store(Lines(writers, readers), seam, opening.vault, on_close=close, claim_mark=mark)


def lock_file(path: Path) -> int:
    """SQLite means one process; the lock falls with the process, however it ends. Raises StoreBusy where one runs."""
    handle = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise StoreBusy(f"Another process has {path} open: stop it first, or use PostgreSQL for several.") from error
    return handle


def _sqlite_engine(
    path: Path, connect: dict[str, Callable[..., aiosqlite.Connection]], connections: int
) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        connect_args={"isolation_level": None, "cached_statements": 256} | connect,
        pool_size=connections,
        max_overflow=0,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: DriverConnection, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",  # NORMAL may lose acknowledged commits at power loss
            f"busy_timeout = {BUSY_MILLISECONDS}",
            "cache_size = -65536",
            "temp_store = MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]
        cursor.close()  # type: ignore[attr-defined]

    @event.listens_for(engine.sync_engine, "handle_error")
    def keep_when_cancelled(context: ExceptionContext) -> None:
        """A cancelled statement ends in SQLite's thread by itself, and is rolled back there: the connection is not lost."""
        if isinstance(context.original_exception, asyncio.CancelledError):
            context.is_disconnect = False

    return engine


async def _open_postgres(opening: Opening, url: URL) -> Store:
    await check_postgres(url, opening.roles, create=opening.create)
    seam = PostgresSeam(opening.offset, walls=bool(opening.roles))
    limits = opening.limits

    def line(connections: int, statement_seconds: float, planning: dict[str, str]) -> Writer:
        engine = _postgres_engine(opening, url, connections, statement_seconds, planning=planning)
        return Writer(engine, seam, connections, POOL_SECONDS)

    writers = line(limits.writers, limits.statement_seconds, BY_KEY)
    readers = line(limits.readers, limits.statement_seconds, {})
    accept = line(limits.accept, ACCEPT_STATEMENT_SECONDS, BY_KEY)
    return Store(Lines(writers, readers, accept), seam, opening.vault)


def _postgres_engine(
    opening: Opening, url: URL, connections: int, statement_seconds: float, *, planning: dict[str, str]
) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",  # the line begins and ends its transactions
        connect_args={
            "timeout": CONNECT_SECONDS,
            "command_timeout": statement_seconds + 1,  # where nobody is there to time out
            "server_settings": _server_settings(opening, statement_seconds) | planning,
        },
    )
    ids_as_digits(engine)
    return engine


def _server_settings(opening: Opening, statement_seconds: float) -> dict[str, str]:
    limits = opening.limits
    milliseconds = {
        "statement_timeout": statement_seconds,
        "lock_timeout": min(limits.lock_seconds, statement_seconds / 2),  # said as what it is, before the statement's
        "idle_in_transaction_session_timeout": limits.idle_seconds,
        "client_connection_check_interval": 5.0,  # a client that is gone needs no answer
        "tcp_user_timeout": 30.0,
    }
    return {name: str(int(seconds * 1000)) for name, seconds in milliseconds.items()} | {
        "application_name": opening.name,
        "jit": "off",  # no statement here is worth a compilation
        "tcp_keepalives_idle": "15",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
