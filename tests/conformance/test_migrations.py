"""The schema on both stores: migrations lead from nothing to what the tables say, and again lead nowhere else."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.schema import SchemaItem

import tenantry.store
from tenantry.store import tables, tables_run
from tenantry.store.migrate import migrate
from tenantry.store.partitions import TABLES
from tests import worlds
from tests.conformance.conftest import Ground

HEAD = ScriptDirectory(str(Path(tenantry.store.__file__).parent / "migrations")).get_current_head()


def _ours(_thing: SchemaItem, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
    """Leave out what is no table of the model: partitions, and Alembic's own."""
    return kind != "table" or not reflected or name in tables.metadata.tables


def _differences(connection: Connection) -> list[object]:
    options = {"include_object": _ours, "compare_type": False}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata))


async def test_the_migrations_lead_to_the_model(ground: Ground) -> None:
    """From an empty database to head there is every table, column, index and key that the code speaks of."""
    async with ground.store.step() as step:
        assert await step.conn.scalar(text("SELECT version_num FROM alembic_version")) == HEAD
        assert await step.conn.run_sync(_differences) == []
        assert tables_run.metadata is tables.metadata


async def test_migrating_again_changes_nothing(ground: Ground) -> None:
    """Every start brings the schema up to date; where it is, mail and all stay as they are."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 3)
    async with ground.store.reading() as step:
        url = step.conn.engine.url.render_as_string(hide_password=False).replace("sqlite+aiosqlite", "sqlite")
    assert (await asyncio.to_thread(migrate, ground.owner_url or url)).current
    async with ground.store.reading() as step:
        assert await step.conn.scalar(text("SELECT COUNT(*) FROM message")) == 3


async def test_mail_tables_are_partitioned_with_a_place_for_everything(ground: Ground) -> None:
    """On PostgreSQL each mail table has a default partition, so that a clock that jumps loses no mail."""
    if ground.store.seam.name == "sqlite":
        return
    async with ground.store.reading() as step:
        for table in TABLES:
            kind = await step.conn.scalar(text(f"SELECT relkind::text FROM pg_class WHERE relname = '{table}'"))
            assert kind == "p", table
            assert await step.conn.scalar(text(f"SELECT to_regclass('{table}_rest') IS NOT NULL"))
