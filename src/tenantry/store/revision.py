"""Owns the question whether a database's schema is the one that this program is written for; leaves upgrades to migrate."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import Text, column, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

_APPLIED = table("alembic_version", column("version_num", Text()))


@cache
def _known() -> tuple[str, ...]:
    """Return the revisions that this program brings along, newest first."""
    return tuple(
        script.revision for script in ScriptDirectory(str(Path(__file__).parent / "migrations")).walk_revisions()
    )


def head() -> str:
    """Return the newest revision that this program brings along."""
    return _known()[0]


def is_behind(revision: str | None) -> bool:
    """Say whether a schema at this revision lacks what this program needs.

    One that this program does not know is newer: migrations only add, and while processes are replaced one by one the
    older ones go on.
    """
    return revision is None or revision in _known()[1:]


async def current(conn: AsyncConnection) -> str | None:
    """Return the revision that a database is at, None where it has none."""
    return await conn.scalar(select(_APPLIED.c.version_num))
