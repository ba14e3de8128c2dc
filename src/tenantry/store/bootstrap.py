"""Owns what a new database needs before anything else: a cell with its shared pool, and partitions for the mail."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, text, update

from tenantry.core.ids import CellId, PoolId
from tenantry.core.tenant import PoolKind
from tenantry.store import tables
from tenantry.store.partitions import make_partitions
from tenantry.store.store import Step, Store
from tenantry.store.tables_ses import mirror

SHARED = "shared"
FIRST_COMER = 8_320_260  # the advisory lock of whoever makes what every process would make at its start


async def ensure_cell(store: Store, name: str, region: str) -> CellId:
    """Return the cell of this name, made with its shared pool where missing; it sends nothing until GetAccount is read."""
    async with store.step() as step:
        await _one_at_a_time(step)
        known = await step.conn.scalar(select(tables.cell.c.id).where(tables.cell.c.name == name))
        if known is not None:
            return CellId(known)
        cell_id = step.new_id(CellId)
        await step.conn.execute(
            insert(tables.cell).values(
                id=cell_id,
                name=name,
                region=region,
                rate_per_second=0.0,
                quota_24h=0.0,
                sent_24h=0.0,
                sending_enabled=False,
                enforcement="UNKNOWN",
                tokens=0.0,
                tokens_at=step.now,
                backoff=1.0,
                shares="",
            )
        )
        await step.conn.execute(
            insert(tables.pool).values(id=step.new_id(PoolId), cell_id=cell_id, name=SHARED, kind=PoolKind.SHARED)
        )
        return cell_id


async def ensure_partitions(store: Store) -> int:
    """Make the partitions of the coming weeks on PostgreSQL; return how many were made."""
    if store.seam.name != "postgresql":
        return 0
    async with store.step() as step:
        await _one_at_a_time(step)
        return await make_partitions(step.conn, step.now)


async def _one_at_a_time(step: Step) -> None:
    """Wait for other processes that start on the same new database; on SQLite there is one process."""
    if step.seam.name == "postgresql":
        await step.conn.execute(text(f"SELECT pg_advisory_xact_lock({FIRST_COMER})"))


async def forget_mirror(store: Store, cell: CellId) -> None:
    """Forget what SES was last seen to have: the account behind the cell is a new one, so everything is made again."""
    async with store.step(lock=cell) as step:
        await step.conn.execute(delete(mirror).where(mirror.c.cell_id == cell))
        await step.conn.execute(
            update(tables.stream).where(tables.stream.c.cell_id == cell).values(provisioned_at=None)
        )
        await step.conn.execute(update(tables.tenant).where(tables.tenant.c.cell_id == cell).values(surveyed=0))
        await step.conn.execute(
            update(tables.pause)
            .where(tables.pause.c.cell_id == cell, tables.pause.c.ended_at.is_(None))
            .values(fenced_at=None)
        )
