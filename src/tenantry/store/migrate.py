"""Owns bringing a schema up to date with Alembic; leaves the steps themselves to migrations/versions."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


def migrate(url: str, revision: str = "head") -> None:
    """Upgrade the database at this URL; concurrent upgrades wait for one another on PostgreSQL. Blocks."""
    if url.startswith("postgresql"):
        asyncio.run(_migrate_postgres(url, revision))
        return
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        _upgrade(connection, revision)
        connection.commit()
    engine.dispose()


async def _migrate_postgres(url: str, revision: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(8320257)")  # one upgrade at a time
        await connection.run_sync(_upgrade, revision)
    await engine.dispose()


def _upgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
