"""Owns the state of the database itself: version, size, schema, room on the disk, long transactions, partitions made ahead."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.core.figures import DatabaseFigures
from tenantry.store.opening import Opened
from tenantry.store.partitions import TABLES, end_of
from tenantry.store.revision import current, head, is_behind

_SERVER = """
SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS size_bytes,
 current_setting('max_connections')::int AS most, (SELECT count(*) FROM pg_stat_activity
  WHERE backend_type = 'client backend') AS connections
"""
_LONGEST = """
SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
ORDER BY xact_start LIMIT 1
"""
_PARTITIONS = """
SELECT parent.relname AS parent, max(child.relname) AS last FROM pg_inherits
JOIN pg_class parent ON parent.oid = inhparent JOIN pg_class child ON child.oid = inhrelid
WHERE parent.relname = ANY(:tables) AND child.relname ~ '_[0-9]{8}$' AND pg_table_is_visible(parent.oid)
GROUP BY parent.relname
"""


async def database_figures(step: Opened) -> DatabaseFigures:
    """Return what the database says of itself."""
    found = await (_postgres(step.conn) if step.dialect == "postgresql" else _sqlite(step.conn))
    return replace(found, refuses=step.refusals.lately(step.now))


async def _sqlite(conn: AsyncConnection) -> DatabaseFigures:
    version = str(await conn.scalar(text("SELECT sqlite_version()")))
    path = str(await conn.scalar(text("SELECT file FROM pragma_database_list WHERE name = 'main'")))
    revision = await current(conn)
    size, disk, free = await asyncio.to_thread(_on_disk, path)
    return DatabaseFigures(
        kind="sqlite",
        version=version,
        size_bytes=size,
        revision=revision or "",
        head=head(),
        behind=is_behind(revision),
        free_bytes=free,
        disk_bytes=disk,
    )


def _on_disk(path: str) -> tuple[int, int, int]:
    """Return the bytes of the file with its log, of its disk, and those free there."""
    size = sum(os.path.getsize(file) for file in (path, f"{path}-wal") if os.path.exists(file))
    disk = shutil.disk_usage(os.path.dirname(path))
    return size, disk.total, disk.free


async def _postgres(conn: AsyncConnection) -> DatabaseFigures:
    server = (await conn.execute(text(_SERVER))).one()
    revision = await current(conn)
    longest = (await conn.execute(text(_LONGEST))).one_or_none()
    return DatabaseFigures(
        kind="postgresql",
        version=server.version,
        size_bytes=server.size_bytes,
        revision=revision or "",
        head=head(),
        behind=is_behind(revision),
        connections=server.connections,
        connections_max=server.most,
        oldest_transaction_seconds=longest.seconds if longest else 0.0,
        oldest_transaction_pid=longest.pid if longest else None,
        partitions_until=await _partitions_until(conn),
    )


async def _partitions_until(conn: AsyncConnection) -> datetime | None:
    """Return until when every mail table has its partitions."""
    found = {row.parent: row.last for row in await conn.execute(text(_PARTITIONS), {"tables": list(TABLES)})}
    return min(end_of(found[table]) for table in TABLES) if len(found) == len(TABLES) else None
