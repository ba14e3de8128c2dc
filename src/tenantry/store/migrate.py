"""Owns bringing a schema up to date with Alembic, and its roles with it; leaves the steps to migrations/versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tenantry.ports import StoreBusy, StoreUnfit
from tenantry.store import walls
from tenantry.store.revision import OLDEST, breaking, head, is_behind, is_too_new, too_new

T = TypeVar("T")
MIGRATIONS = Path(__file__).parent / "migrations"
ONE_AT_A_TIME = 8_320_257
LOCK_MILLISECONDS = 300  # a change that waits for its lock holds up everybody behind it
LOCK_TRIES = 60
PASSING_SECONDS = 0.7  # in which those pass who waited behind it
LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True)
class Migrated:
    """From which revision (None: an empty database) to which; mended: how many rights and walls were put right."""

    before: str | None
    after: str | None
    mended: int = 0

    @property
    def current(self) -> bool:
        """Whether there was, or for a check there is, nothing to do."""
        return self.before == self.after and not self.mended


def migrate(url: str, *, roles: bool = True) -> Migrated:
    """Upgrade the database at this URL; on PostgreSQL, upgrades at a time wait for one another. Blocks.

    A database that a later version migrated is left alone. Raises StoreBusy where somebody holds a table for a minute,
    StoreUnfit where the login may not make the roles, where processes run that a migration would take something away from,
    or where a later version took away what this one uses.
    """
    return _on(url, lambda connection: _upgrade(connection, roles=roles))


def pending(url: str, *, roles: bool = True) -> Migrated:
    """Return what `migrate` would do, and do nothing. Blocks."""
    return _on(url, lambda connection: _pending(connection, roles=roles))


def revision_of(connection: Connection) -> str | None:
    """Return the revision that a database is at, or None before the first."""
    return MigrationContext.configure(connection).get_current_revision()


def _on(url: str, work: Callable[[Connection], T]) -> T:
    if url.startswith("postgresql"):
        return asyncio.run(_on_postgres(url, work))
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            done = work(connection)
            connection.commit()
            return done
    finally:
        engine.dispose()


async def _on_postgres(url: str, work: Callable[[Connection], T]) -> T:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        for _ in range(LOCK_TRIES):
            try:
                async with engine.begin() as connection:
                    await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME})")
                    await connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
                    return await connection.run_sync(work)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", "") != LOCK_NOT_AVAILABLE:
                    raise
            await asyncio.sleep(PASSING_SECONDS)
        raise StoreBusy("Somebody uses a table that must be changed, all the time: end long queries, and try again.")
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, *, roles: bool) -> Migrated:
    before = revision_of(connection)
    if before != head() and not is_behind(before):
        _refuse_too_new(connection)
        return Migrated(before, before)
    taking = breaking(before)
    if taking is not None and (number := _processes(connection)):
        raise StoreUnfit(
            f"Revision {taking} takes away what programs before it use, and {number} of their connections are open: end every"
            " gateway, worker and up first, then migrate, then start the new ones."
        )
    if before != head():
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    if taking is not None:
        now = "clock_timestamp()" if connection.dialect.name == "postgresql" else "0"
        connection.exec_driver_sql(f"DELETE FROM stamp WHERE name = '{OLDEST}'")
        connection.exec_driver_sql(f"INSERT INTO stamp (name, value, at) VALUES ('{OLDEST}', '{taking}', {now})")
    mended = walls.mend(connection) if roles and connection.dialect.name == "postgresql" else []
    return Migrated(before, revision_of(connection), len(mended))


def _processes(connection: Connection) -> int:
    """Return how many connections of gateways, workers and ups are open; a SQLite file has one process, which is this."""
    if connection.dialect.name != "postgresql":
        return 0
    found = connection.exec_driver_sql(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND application_name IN ('tenantry gateway', 'tenantry worker', 'tenantry up')"
    )
    return int(found.scalar_one())


def _refuse_too_new(connection: Connection) -> None:
    oldest = connection.exec_driver_sql(f"SELECT value FROM stamp WHERE name = '{OLDEST}'").scalar_one_or_none()
    if is_too_new(oldest):
        raise StoreUnfit(too_new(oldest))


def _pending(connection: Connection, *, roles: bool) -> Migrated:
    before = revision_of(connection)
    if before != head() and not is_behind(before):
        return Migrated(before, before)
    if before != head() or not roles or connection.dialect.name != "postgresql":
        return Migrated(before, head())
    return Migrated(before, before, len(walls.missing(connection)))
