"""Owns what the operator reads and changes over all tenants; leaves one tenant's own to tenant.py."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Table, insert, select

from tenantry.core.figures import Balance, Figures
from tenantry.core.ids import (
    AttemptId,
    Id,
    IdentityId,
    KeyId,
    MessageId,
    PauseId,
    PoolId,
    StreamId,
    TenantId,
    VerdictId,
)
from tenantry.core.pause import Pause
from tenantry.core.plan import Change
from tenantry.core.recovery import HeldMail
from tenantry.core.tenant import Cell, Key, NewTenant, Pool, PoolKind, Scope, Tenant
from tenantry.ports import Page, StoreRejected
from tenantry.store import tables as t
from tenantry.store.conservation import balance
from tenantry.store.doctor import bounded, fleet_figures
from tenantry.store.opening import Opened, Opener, cursor_after, first, read_cursor, rows, unique
from tenantry.store.rows import OPEN_COLUMNS, read_cell, read_key, read_pause, read_pool, read_tenant
from tenantry.store.tenant import TenantScope, insert_key, named, revoke

__all__ = ["FleetScope", "TenantScope"]

OWNED: Mapping[type[Id], Table] = {
    StreamId: t.stream,
    IdentityId: t.identity,
    KeyId: t.key,
    MessageId: t.message,
    AttemptId: t.attempt,
    VerdictId: t.verdict,
    PauseId: t.pause,
}


class FleetScope:
    """The port FleetStore: what the operator may see and change."""

    def __init__(self, store: Opener, operator: KeyId) -> None:
        self._store = store
        self._operator = operator  # the author of what is changed here, for the audit log

    async def tenants(self, cursor: str | None, limit: int) -> Page[Tenant]:
        query = select(t.tenant).order_by(t.tenant.c.id.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(t.tenant.c.id < read_cursor(cursor, TenantId))
        async with self._store.reading() as step:
            found = [read_tenant(row) for row in await rows(step.conn, query)]
        return Page(found[:limit], cursor_after(found[limit - 1].id) if len(found) > limit else None)

    async def tenant(self, name_or_id: str) -> Tenant | None:
        async with self._store.reading() as step:
            row = await first(step.conn, select(t.tenant).where(named(t.tenant, TenantId, name_or_id)))
        return read_tenant(row) if row else None

    async def add_tenant(self, wanted: NewTenant) -> Tenant:
        async with self._store.step() as step:
            made = Tenant(
                id=step.new_id(TenantId),
                name=wanted.name,
                cell_id=(await _only_cell(step)).id,
                account=f"{secrets.randbelow(9 * 10**11) + 10**11}",
                labels=dict(wanted.labels),
                created_at=step.now,
            )
            with unique(f"A tenant named {wanted.name!r} exists already."):
                await step.conn.execute(
                    insert(t.tenant).values(
                        id=made.id,
                        name=made.name,
                        cell_id=made.cell_id,
                        account=made.account,
                        labels=json.dumps(made.labels, sort_keys=True),
                        revision=1,
                        created_at=made.created_at,
                    )
                )
            return made

    async def owner(self, thing: Id) -> TenantId | None:
        table = OWNED.get(type(thing))
        if table is None:
            return None
        async with self._store.reading() as step:
            row = await first(step.conn, select(table.c.tenant_id).where(table.c.id == thing))
        return row.tenant_id if row else None

    async def held(self) -> Sequence[HeldMail]:
        async with self._store.reading() as step:
            return await step.held()

    async def pools(self) -> Sequence[Pool]:
        async with self._store.reading() as step:
            return [read_pool(row) for row in await rows(step.conn, select(t.pool).order_by(t.pool.c.id))]

    async def add_pool(self, name: str, kind: PoolKind) -> Pool:
        async with self._store.step() as step:
            made = Pool(step.new_id(PoolId), (await _only_cell(step)).id, name, kind)
            with unique(f"A pool named {name!r} exists already."):
                await step.conn.execute(
                    insert(t.pool).values(id=made.id, cell_id=made.cell_id, name=name, kind=kind.value)
                )
            return made

    async def cells(self) -> Sequence[Cell]:
        async with self._store.reading() as step:
            return [read_cell(row) for row in await rows(step.conn, select(t.cell).order_by(t.cell.c.id))]

    async def pauses(self, *, open_only: bool) -> Sequence[Pause]:
        query = select(t.pause).order_by(t.pause.c.id)
        async with self._store.reading() as step:
            found = await rows(step.conn, query.where(t.pause.c.ended_at.is_(None)) if open_only else query)
        return [read_pause(row) for row in found]

    async def pause(self, pause_id: PauseId) -> Pause | None:
        async with self._store.reading() as step:
            row = await first(step.conn, select(t.pause).where(t.pause.c.id == pause_id))
        return read_pause(row) if row else None

    async def keys(self) -> Sequence[Key]:
        query = select(*OPEN_COLUMNS["key"]).where(t.key.c.tenant_id.is_(None)).order_by(t.key.c.id)
        async with self._store.reading() as step:
            return [read_key(row) for row in await rows(step.conn, query)]

    async def add_key(self, scopes: frozenset[Scope]) -> tuple[Key, str]:
        async with self._store.step() as step:
            return await insert_key(step, self._store.vault, None, scopes)

    async def revoke_key(self, key_id: KeyId, after_seconds: float = 0.0) -> bool:
        async with self._store.step() as step:
            return await revoke(step, t.key.c.tenant_id.is_(None), key_id, after_seconds)

    async def changes(self) -> Sequence[Change]:
        async with self._store.reading() as step:
            cells = await rows(step.conn, select(t.cell.c.id).order_by(t.cell.c.id))
            return [change for row in cells for change in await step.differences(row.id)]

    async def figures(self) -> Figures:
        async with self._store.reading() as step:
            await bounded(step)
            return await fleet_figures(step)

    async def balance(self, before: MessageId | None) -> Balance:
        async with self._store.reading() as step:
            await bounded(step)
            return await balance(step, before)

    async def time(self) -> datetime:
        async with self._store.reading() as step:
            return step.now


async def _only_cell(step: Opened) -> Cell:
    row = await first(step.conn, select(t.cell).order_by(t.cell.c.id))
    if row is None:
        raise StoreRejected("There is no cell yet: the store is not set up.")
    return read_cell(row)
