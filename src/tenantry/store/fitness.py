"""Owns whether a PostgreSQL can be used as it is: its version, its schema, the roles that a process takes.

Leaves mending to migrate and walls; every complaint says what to do.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from tenantry.ports import StoreBusy, StoreUnfit
from tenantry.store.migrate import ONE_AT_A_TIME, migrate
from tenantry.store.partitions import make_partitions
from tenantry.store.revision import OLDEST, head, is_behind, is_too_new, too_new
from tenantry.store.roles import Role

OLDEST_SERVER = 15
SETS_FROM = 160_000  # from then on a member of a role may be without the right to take it
CONNECT_SECONDS = 5.0
NOT_ALLOWED = "42501"
UNREACHABLE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


async def check_postgres(url: URL, roles: Collection[Role], *, create: bool) -> None:
    """Bring the schema up to date where asked and allowed to; raise StoreUnfit for what keeps it from being used."""
    async with _reached(url) as engine:
        async with engine.connect() as connection:
            await _version(connection)
            owner = await _may_migrate(connection)
        if create and owner:
            await asyncio.to_thread(migrate, url.render_as_string(hide_password=False), roles=bool(roles))
        async with engine.connect() as connection:
            await _roles(connection, roles)
            await _schema(connection, roles)


async def check_version(url: URL) -> None:
    """Raise StoreUnfit for a server that is too old, StoreBusy for one that cannot be reached."""
    async with _reached(url) as engine, engine.connect() as connection:
        await _version(connection)


async def prepare(url: URL) -> int:
    """Make the partitions ahead, as the owner, so that no mail comes before them; return how many were made."""
    async with _reached(url) as engine, engine.begin() as connection:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME})"))
        now = await connection.scalar(text("SELECT clock_timestamp()"))
        assert now is not None
        return await make_partitions(connection, now)


@asynccontextmanager
async def _reached(url: URL) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": CONNECT_SECONDS})
    try:
        with saying_why():
            yield engine
    finally:
        await engine.dispose()


@contextmanager
def saying_why() -> Iterator[None]:
    """Turn what a database says while it is opened or migrated into StoreUnfit or StoreBusy."""
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise StoreUnfit("The file is no SQLite database: give another one, or move this one away.") from error
        if getattr(error.orig, "sqlstate", None) == NOT_ALLOWED:
            raise StoreUnfit(
                f"The database login may not do this: {_first_line(error)}. Log in as the owner."
            ) from error
        raise StoreBusy(f"The database cannot be used now: {_first_line(error)}") from error
    except UNREACHABLE as error:
        raise StoreBusy(f"The database cannot be reached: {str(error) or type(error).__name__}") from error


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).splitlines()[0].rpartition(": ")[2]


def version_flaw(number: int) -> str | None:
    """Say why a server of this version number (as 160014) cannot be used, or None."""
    if number >= OLDEST_SERVER * 10_000:
        return None
    return f"This PostgreSQL is version {number // 10_000}: Tenantry needs {OLDEST_SERVER} or newer."


async def _number(connection: AsyncConnection) -> int:
    return int(str(await connection.scalar(text("SHOW server_version_num"))))


async def _version(connection: AsyncConnection) -> None:
    if flaw := version_flaw(await _number(connection)):
        raise StoreUnfit(flaw)


async def _may_migrate(connection: AsyncConnection) -> bool:
    """Tell whether this login owns the schema's tables, or may make them where there are none."""
    owns = text(
        "SELECT COALESCE((SELECT pg_has_role(current_user, c.relowner, 'USAGE') FROM pg_class c"
        " WHERE c.oid = to_regclass('alembic_version')), has_schema_privilege(current_schema(), 'CREATE'), false)"
    )
    return bool(await connection.scalar(owns))


async def _roles(connection: AsyncConnection, roles: Collection[Role]) -> None:
    takes = "SET" if await _number(connection) >= SETS_FROM else "MEMBER"
    login = await connection.scalar(text("SELECT quote_ident(current_user)"))
    for role in roles:
        known = text("SELECT pg_has_role(current_user, oid, :takes) FROM pg_roles WHERE rolname = :role")
        may = await connection.scalar(known, {"takes": takes, "role": role.value})
        if may is None:
            raise StoreUnfit(
                f"The database has no role {role}: run `tenantry migrate` as the owner of the schema, or set"
                " TENANTRY_DATABASE_ROLES=false to do without walls inside the database."
            )
        if not may:
            raise StoreUnfit(
                f"The database login {login} may not take the role {role}: have an administrator run"
                f" GRANT {role} TO {login}, or set TENANTRY_DATABASE_ROLES=false to do without walls inside the database."
            )


async def _oldest(connection: AsyncConnection) -> str | None:
    """Return the revision that a program has to know, None where any older one will do."""
    if not await connection.scalar(text("SELECT has_table_privilege(to_regclass('stamp'), 'SELECT')")):
        return None  # before 0002
    found = await connection.scalar(text("SELECT value FROM stamp WHERE name = :name"), {"name": OLDEST})
    return None if found is None else str(found)


async def _schema(connection: AsyncConnection, roles: Collection[Role]) -> None:
    """Raise where the schema is behind this version; one that is ahead still serves, since migrations only add."""
    found = oldest = None
    if await connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL")):
        for role in [Role.OPERATOR] if Role.OPERATOR in roles else list(roles)[:1]:
            await connection.execute(text(f"SET LOCAL ROLE {role.value}"))
        try:
            found = await connection.scalar(text("SELECT version_num FROM alembic_version"))
            oldest = await _oldest(connection)
        except DBAPIError as error:
            raise StoreUnfit(
                "The database login may not read the schema: log in as its owner, or as a member of the roles that"
                " docs/database.md names, with TENANTRY_DATABASE_ROLES=true."
            ) from error
    if found is None:
        raise StoreUnfit("The database is empty: run `tenantry migrate` first.")
    if is_too_new(oldest):
        raise StoreUnfit(too_new(oldest))
    if is_behind(found):
        raise StoreUnfit(f"The database is at revision {found}, this version needs {head()}: run `tenantry migrate`.")
