"""Owns the question whether a database's schema is the one that this program is written for; leaves upgrades to migrate."""

from __future__ import annotations

from functools import cache
from itertools import takewhile
from pathlib import Path

from alembic.script import Script, ScriptDirectory
from sqlalchemy import Text, column, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

OLDEST = "oldest_program"  # the stamp that names the revision which a program has to know
_APPLIED = table("alembic_version", column("version_num", Text()))


@cache
def _scripts() -> tuple[Script, ...]:
    return tuple(ScriptDirectory(str(Path(__file__).parent / "migrations")).walk_revisions())


@cache
def _known() -> tuple[str, ...]:
    """Return the revisions that this program brings along, newest first."""
    return tuple(script.revision for script in _scripts())


def head() -> str:
    """Return the newest revision that this program brings along."""
    return _known()[0]


def is_behind(revision: str | None) -> bool:
    """Say whether a schema at this revision lacks what this program needs.

    One that this program does not know is newer. Where the migrations to it only add, older programs go on while they are
    replaced one by one; where one takes away, `is_too_new` says so.
    """
    return revision is None or revision in _known()[1:]


def breaking(revision: str | None) -> str | None:
    """Return the newest revision beyond this one whose migration takes away what older programs use, None where all add.

    Such a migration says `adds_only = False`.
    """
    if revision is None:  # an empty database: nobody uses it
        return None
    ahead = takewhile(lambda script: script.revision != revision, _scripts())
    return next((one.revision for one in ahead if not getattr(one.module, "adds_only", True)), None)


def is_too_new(oldest: str | None) -> bool:
    """Say whether a database lacks by now what this program uses; oldest: the revision that its stamp names."""
    return oldest is not None and oldest not in _known()


def too_new(oldest: str | None) -> str:
    """Say so in words."""
    return f"The database has what programs of revision {oldest} and later use, this one knows {head()}: run a newer version."


async def current(conn: AsyncConnection) -> str | None:
    """Return the revision that a database is at, None where it has none."""
    return await conn.scalar(select(_APPLIED.c.version_num))
