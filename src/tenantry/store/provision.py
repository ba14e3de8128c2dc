"""Owns provision's reads and writes: what the store wants of SES, SES as last seen, and what follows from both.

Leaves what to do about a difference, and what a state amounts to, to core.plan; doing it to flow.provision.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.core.ids import CellId, TenantId
from tenantry.core.pause import Pause
from tenantry.core.plan import Resource, ResourceKind, Wanted, desired, progress
from tenantry.core.tenant import Identity, IdentityStatus
from tenantry.store import tables as t
from tenantry.store.opening import rows
from tenantry.store.rows import OPEN_COLUMNS, read_identity, read_pause, read_pool, read_stream, read_tenant
from tenantry.store.seam import Queries


async def desired_resources(conn: AsyncConnection, cell: CellId) -> list[Resource]:
    """Return what SES should hold of this cell; no key is in it."""
    wanted, _ = await _wanted(conn, cell)
    return desired(wanted)


async def mirrored_resources(conn: AsyncConnection, cell: CellId) -> list[Resource]:
    """Return what SES holds, as last seen."""
    return [
        Resource(ResourceKind(row.kind), row.name, json.loads(row.attributes), json.loads(row.observed))
        for row in await rows(conn, select(t.mirror).where(t.mirror.c.cell_id == cell))
    ]


async def _wanted(conn: AsyncConnection, cell: CellId) -> tuple[Wanted, list[Pause]]:
    """Return what the store wants, and the pauses that are ending, which block no longer."""
    here = {table: select(*OPEN_COLUMNS.get(table.name, table.c)).where(table.c.cell_id == cell).order_by(table.c.id)
            for table in (t.tenant, t.stream, t.identity, t.pool, t.pause)}  # fmt: skip
    tenants = [read_tenant(row) for row in await rows(conn, here[t.tenant])]
    pauses = [read_pause(row) for row in await rows(conn, here[t.pause].where(t.pause.c.ended_at.is_(None)))]
    wanted = Wanted(
        tenants={tenant.id: tenant for tenant in tenants},
        streams=[read_stream(row) for row in await rows(conn, here[t.stream])],
        identities=[read_identity(row) for row in await rows(conn, here[t.identity])],
        pools=[read_pool(row) for row in await rows(conn, here[t.pool])],
        pauses=[pause for pause in pauses if pause.end_reason is None],
    )
    return wanted, [pause for pause in pauses if pause.end_reason is not None]


class ProvisionQueries(Queries):
    """Implements ports.ProvisionStep."""

    async def desired(self, cell: CellId) -> Sequence[Resource]:
        """See ports.ProvisionStep; a sealed DKIM key stands in `observed`, for the control adapter alone."""
        query = select(t.identity.c.name, t.identity.c.private_key).where(
            t.identity.c.cell_id == cell, t.identity.c.selector != ""
        )
        sealed = {row.name: row.private_key.decode() for row in await rows(self.conn, query)}
        return [
            replace(resource, observed={"sealed_key": sealed[resource.name]})
            if resource.kind is ResourceKind.IDENTITY and resource.name in sealed
            else resource
            for resource in await desired_resources(self.conn, cell)
        ]

    async def mirror(self, cell: CellId) -> Sequence[Resource]:
        """See ports.ProvisionStep."""
        return await mirrored_resources(self.conn, cell)

    async def set_mirror(self, cell: CellId, present: Sequence[Resource], gone: Sequence[Resource]) -> None:
        """See ports.ProvisionStep."""
        if gone:
            keys = [(resource.kind.value, resource.name) for resource in gone]
            here = t.mirror.c.cell_id == cell, tuple_(t.mirror.c.kind, t.mirror.c.name).in_(keys)
            await self.conn.execute(delete(t.mirror).where(*here))
        if present:
            insert = postgresql.insert(t.mirror) if self.dialect == "postgresql" else sqlite.insert(t.mirror)
            fresh = {name: insert.excluded[name] for name in ("attributes", "observed", "seen_at")}
            await self.conn.execute(
                insert.on_conflict_do_update(index_elements=["cell_id", "kind", "name"], set_=fresh),
                [self._mirror_row(cell, resource) for resource in present],
            )

    def _mirror_row(self, cell: CellId, resource: Resource) -> dict[str, object]:
        return {
            "cell_id": cell,
            "kind": resource.kind.value,
            "name": resource.name,
            "attributes": json.dumps(dict(resource.attributes), sort_keys=True),
            "observed": json.dumps(dict(resource.observed), sort_keys=True),
            "seen_at": self.now,
        }

    async def note_progress(self, cell: CellId) -> None:
        """See ports.ProvisionStep."""
        wanted, ending = await _wanted(self.conn, cell)
        made = progress(wanted, ending, await mirrored_resources(self.conn, cell))
        touched: set[TenantId] = {one.tenant_id for one in made.identities}
        touched |= {one.tenant_id for one in wanted.streams if one.id in {*made.provisioned, *made.lost}}
        for ids, at in ((made.provisioned, self.now), (made.lost, None)):
            if ids:
                await self.conn.execute(update(t.stream).where(t.stream.c.id.in_(ids)).values(provisioned_at=at))
        for pauses, column in ((made.fenced, "fenced_at"), (made.ended, "ended_at")):
            if pauses:
                await self.conn.execute(update(t.pause).where(t.pause.c.id.in_(pauses)).values({column: self.now}))
        for identity in made.identities:
            await self._update_identity(identity)
        if touched:
            risen = update(t.tenant).where(t.tenant.c.id.in_(sorted(touched)))
            await self.conn.execute(risen.values(revision=t.tenant.c.revision + 1))

    async def _update_identity(self, identity: Identity) -> None:
        verified = identity.status is IdentityStatus.VERIFIED
        values = {
            "status": identity.status.value,
            "ses_status": json.dumps(dict(identity.ses_status), sort_keys=True),
            "tokens": json.dumps(identity.tokens),
            "verified_at": (identity.verified_at or self.now) if verified else None,
        }
        await self.conn.execute(update(t.identity).where(t.identity.c.id == identity.id).values(values))
