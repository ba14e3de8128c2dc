"""Owns opening a database: engines, pragmas, the one-process lock on SQLite, migrations; leaves transactions to store.py."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import aiosqlite
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tenantry.ports import StoreBusy
from tenantry.store.migrate import migrate
from tenantry.store.postgres import PostgresSeam, ids_as_digits
from tenantry.store.recovery import ClaimMark
from tenantry.store.sqlite import SqliteSeam
from tenantry.store.store import Store
from tenantry.store.vault import Vault
from tenantry.store.writing import Writer

READERS = 4
POSTGRES_WRITERS = 6
BUSY_MILLISECONDS = 5_000


class DriverConnection(Protocol):
    """What a new connection offers to set it up."""

    def cursor(self) -> object:
        """Open a cursor."""
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """How to open a store; wall tells SQLite the time, offset shifts PostgreSQL's (for tests only)."""

    url: str
    vault: Vault
    wall: Callable[[], datetime]
    offset: timedelta = field(default_factory=timedelta)
    create: bool = True  # bring the schema up to date first
    connect: Callable[..., aiosqlite.Connection] | None = None  # to SQLite, for the simulation; none: a thread for each


async def open_store(opening: Opening) -> Store:
    """Open the database at a SQLAlchemy URL (sqlite:///path or postgresql://...), or raise StoreBusy saying why not."""
    url = make_url(opening.url)
    return await (_open_sqlite(opening) if url.get_backend_name() == "sqlite" else _open_postgres(opening))


async def _open_sqlite(opening: Opening) -> Store:
    path = Path(make_url(opening.url).database or "")
    lock = _lock_file(path)
    if opening.create:
        await asyncio.to_thread(migrate, f"sqlite:///{path}")
    connect = {} if opening.connect is None else {"async_creator_fn": opening.connect}
    seam = SqliteSeam(opening.wall)
    writer = Writer(_sqlite_engine(path, connect, None, pool_size=1), seam, 1, wait_seconds=30)
    reader = _sqlite_engine(path, connect, "BEGIN", pool_size=READERS)
    mark = ClaimMark(path)

    def close() -> None:
        mark.close()
        os.close(lock)

    return Store(writer, reader, seam, opening.vault, on_close=close, claim_mark=mark)


def _lock_file(path: Path) -> int:
    """SQLite means one process; the lock falls with the process, however it ends."""
    handle = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise StoreBusy(f"Another process has {path} open: stop it first, or use PostgreSQL for several.") from error
    return handle


def _sqlite_engine(
    path: Path, connect: dict[str, Callable[..., aiosqlite.Connection]], begin: str | None, pool_size: int
) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        connect_args={"isolation_level": None, "cached_statements": 256, **connect},
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=30,
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

    if begin is None:
        return engine

    @event.listens_for(engine.sync_engine, "begin")
    def begin_now(connection: object) -> None:
        connection.exec_driver_sql(begin)  # type: ignore[attr-defined]

    return engine


async def _open_postgres(opening: Opening) -> Store:
    url = make_url(opening.url).set(drivername="postgresql+asyncpg")
    if opening.create:
        await asyncio.to_thread(migrate, url.render_as_string(hide_password=False))
    seam = PostgresSeam(opening.offset)
    reader = create_async_engine(url, pool_size=READERS, max_overflow=0, pool_timeout=5)
    engine = create_async_engine(url, pool_size=POSTGRES_WRITERS, max_overflow=0, isolation_level="AUTOCOMMIT")
    for one in (reader, engine):
        ids_as_digits(one)
    return Store(Writer(engine, seam, POSTGRES_WRITERS, wait_seconds=5), reader, seam, opening.vault)
