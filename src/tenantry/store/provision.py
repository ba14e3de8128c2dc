"""Owns provision's reads and writes: what the store wants of SES, SES as last seen, and what follows from both.

Read by portions of tenants, since all of them would take minutes where there are many: those that a pause stops, those
that changed since nothing was left to do (tenant.surveyed), and in a slow walk everybody (ADR 0016). Leaves what to do
about a difference, and what a state amounts to, to core.plan; doing it to flow.provision.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import delete, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from tenantry.core.claim import NAME_PREFIX, ses_name
from tenantry.core.ids import CellId, PauseId, StreamId, TenantId
from tenantry.core.pause import Pause
from tenantry.core.plan import (
    FOR_SENDING,
    SENDING,
    Change,
    Progress,
    Resource,
    ResourceKind,
    Wanted,
    desired,
    most_urgent_first,
    plan,
    progress,
    scopes,
)
from tenantry.core.tenant import Identity, IdentityStatus
from tenantry.ports import Places, Survey
from tenantry.store import tables as t
from tenantry.store.opening import rows
from tenantry.store.rows import OPEN_COLUMNS, read_identity, read_pause, read_pool, read_stream, read_tenant
from tenantry.store.seam import DriverRow, Queries, relation
from tenantry.store.tables_ses import mirror

PORTION = 100  # tenants
FIRST = UUID(int=0)  # before every id
SEEN_EACH = 5  # of SES's objects that the walk looks at for each tenant: it ends with the tenants', or sooner
WIDE = {"pool": "pool_id", "cell": "cell_id"}  # scopes of many tenants
BLOCKED = (
    "EXISTS (SELECT 1 FROM pause o WHERE o.ended_at IS NULL AND o.end_reason IS NULL"
    " AND o.scope_id IN (s.id, s.tenant_id, s.pool_id, s.cell_id))"
)
Key = tuple[ResourceKind, str]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the store wants of some tenants, and what SES has of it as last seen."""

    wanted: Wanted
    ending: Sequence[Pause]  # of these tenants alone
    mirror: Sequence[Resource]
    surveyed: dict[TenantId, tuple[int, int]]  # revision, and the one at which nothing was left to do

    def desired(self) -> list[Resource]:
        return desired(self.wanted)

    def progress(self) -> Progress:
        """Say what came true; of a pause of many tenants only all of them could tell."""
        made = progress(self.wanted, self.ending, self.mirror)
        narrow = {pause.id for pause in self.wanted.pauses if pause.scope_kind not in WIDE}
        return replace(made, fenced=tuple(one for one in made.fenced if one in narrow))

    def unsettled(self, changes: Iterable[Change]) -> set[TenantId]:
        """Return the tenants of which something is missing or differs; what is too much is found by the walk alone."""
        owners = {ses_name(one.id): one.tenant_id for one in self.wanted.streams}
        owners |= {f"@{one.name}": one.tenant_id for one in self.wanted.identities}
        wanting = (one.resource for one in changes if not one.delete)
        return {owner for one in wanting if (owner := owners.get(_owner_name(one))) is not None}


def _owner_name(resource: Resource) -> str:
    """Return what tells an object's owner: the name of its stream, or of the identity that it is."""
    return f"@{resource.name}" if resource.kind is ResourceKind.IDENTITY else resource.name.partition("/")[0]


class ProvisionQueries(Queries):
    """Implements ports.ProvisionStep."""

    async def survey(self, cell: CellId, places: Places, most: int, *, walk: bool) -> Survey:
        """See ports.ProvisionStep; a sealed DKIM key stands in `observed`, for the control adapter alone."""
        stopped, still, after = await self._stopped(cell, places, most)
        changed = await self._tenants(cell, places.tenant, most, "AND surveyed <> revision")
        few = max(1, most // 2)  # each of what SES has may belong to one more
        walked = await self._tenants(cell, places.walk, few) if walk else []
        seen = await self._mirror_after(cell, places.seen, SEEN_EACH * few) if walk else []
        owners = await self.tenants_of(cell, seen)
        known = await self._known(cell, {*stopped, *changed, *walked, *owners})
        there = {one.key: one for one in (*known.mirror, *seen)}
        changes = plan(await self._sealed(known), list(there.values()))
        pending = await self._pending(cell, places.identity, most)
        return Survey(
            changes=changes,
            pending=[one for one in pending if one.observed.get(FOR_SENDING) != "true"],
            unnoted=tuple(sorted(_unnoted(known, changes))),
            still=still,
            after=replace(
                after,
                tenant=changed[-1] if len(changed) == most else None,
                walk=(walked[-1] if len(walked) == few else None) if walk else places.walk,
                seen=(seen[-1].key if len(seen) == SEEN_EACH * few else None) if walk else places.seen,
                identity=pending[-1].name if len(pending) == most else "",
            ),
        )

    async def differences(self, cell: CellId, most: int = PORTION) -> list[Change]:
        """Return all that provision would change, the most urgent first; looked for in portions of so many tenants."""
        found: dict[object, Change] = {}
        tenants = await self._tenants(cell, None, most)
        while True:
            known = await self._known(cell, tenants)
            found.update((one.key, one) for one in plan(known.desired(), known.mirror))
            if len(tenants) < most:
                break
            tenants = await self._tenants(cell, tenants[-1], most)
        seen = await self._mirror_after(cell, None, SEEN_EACH * most)
        while seen:  # what nobody wants any more
            known = await self._known(cell, await self.tenants_of(cell, seen))
            found.update((one.key, one) for one in plan(known.desired(), seen) if one.delete)
            seen = await self._mirror_after(cell, seen[-1].key, SEEN_EACH * most)
        return most_urgent_first(found.values())

    async def next_seen(self, cell: CellId, after: Key | None) -> Resource | None:
        """See ports.ProvisionStep."""
        found = await self._mirror_after(cell, after, 1)
        return found[0] if found else None

    async def tenants_of(self, cell: CellId, resources: Iterable[Resource]) -> set[TenantId]:
        """See ports.ProvisionStep."""
        names = {_owner_name(one) for one in resources}
        streams = [(name[len(NAME_PREFIX) :],) for name in names if _is_stream(name)]
        identities = [(name[1:],) for name in names if name.startswith("@")]
        found = []
        if streams:
            found += await self.run(
                "SELECT DISTINCT s.tenant_id FROM {w} JOIN stream s ON s.id = w.id WHERE s.cell_id = :cell",
                relation("w(id uuid)", sorted(streams)),
                cell=cell,
            )
        if identities:
            found += await self.run(
                "SELECT DISTINCT i.tenant_id FROM {w} JOIN identity i ON i.name = w.name WHERE i.cell_id = :cell",
                relation("w(name text)", sorted(identities)),
                cell=cell,
            )
        return {self.seam.id(TenantId, row[0]) for row in found}

    async def set_mirror(self, cell: CellId, present: Sequence[Resource], gone: Sequence[Resource]) -> None:
        """See ports.ProvisionStep."""
        if gone:
            keys = [(resource.kind.value, resource.name) for resource in gone]
            here = mirror.c.cell_id == cell, tuple_(mirror.c.kind, mirror.c.name).in_(keys)
            await self.conn.execute(delete(mirror).where(*here))
        if present:
            insert = postgresql.insert(mirror) if self.dialect == "postgresql" else sqlite.insert(mirror)
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

    async def note_progress(self, cell: CellId, tenants: Collection[TenantId], pauses: Sequence[PauseId] = ()) -> None:
        """See ports.ProvisionStep."""
        known = await self._known(cell, tenants)
        made = known.progress()
        touched: set[TenantId] = {one.tenant_id for one in made.identities}
        touched |= {one.tenant_id for one in known.wanted.streams if one.id in {*made.provisioned, *made.lost}}
        for ids, at in ((made.provisioned, self.now), (made.lost, None)):
            if ids:
                await self.conn.execute(update(t.stream).where(t.stream.c.id.in_(ids)).values(provisioned_at=at))
        fenced, ended = await self._settled_wide(cell, pauses) if pauses else ([], [])
        for stops, column in (((*made.fenced, *fenced), "fenced_at"), ((*made.ended, *ended), "ended_at")):
            if stops:
                await self.conn.execute(update(t.pause).where(t.pause.c.id.in_(stops)).values({column: self.now}))
        for identity in made.identities:
            await self._update_identity(identity)
        left = known.unsettled(plan(known.desired(), known.mirror))
        marks = [
            (one, int(one in touched), 0 if one in left else revision + (one in touched))
            for one, (revision, _) in sorted(known.surveyed.items())
        ]
        await self.run(  # what changed since it was read here has another revision by then: it is looked at again
            "UPDATE tenant SET revision = revision + w.more, surveyed = w.surveyed FROM {w} WHERE tenant.id = w.id"
            " AND (w.more <> 0 OR tenant.surveyed <> w.surveyed)",
            relation("w(id uuid, more bigint, surveyed bigint)", marks),
        )

    async def _update_identity(self, identity: Identity) -> None:
        verified = identity.status is IdentityStatus.VERIFIED
        values = {
            "status": identity.status.value,
            "ses_status": json.dumps(dict(identity.ses_status), sort_keys=True),
            "tokens": json.dumps(identity.tokens),
            "verified_at": (identity.verified_at or self.now) if verified else None,
        }
        await self.conn.execute(update(t.identity).where(t.identity.c.id == identity.id).values(values))

    # ---- which tenants

    async def _tenants(self, cell: CellId, after: TenantId | None, most: int, which: str = "") -> list[TenantId]:
        found = await self.run(
            f"SELECT id FROM tenant WHERE cell_id = :cell AND id > :after {which} ORDER BY id LIMIT :most",
            cell=cell,
            after=after or TenantId.of(FIRST),
            most=most,
        )
        return [self.seam.id(TenantId, row[0]) for row in found]

    async def _stopped(
        self, cell: CellId, places: Places, most: int
    ) -> tuple[set[TenantId], tuple[PauseId, ...], Places]:
        """Return tenants with a pause on its way to SES, the pauses of many tenants for which nothing is left, and where to
        go on."""
        found = await self.run(
            "SELECT id, scope_kind, scope_id, tenant_id, end_reason FROM pause WHERE cell_id = :cell"
            f" AND {t.ON_ITS_WAY} AND id > :after ORDER BY id LIMIT :most",
            cell=cell,
            after=places.pause or PauseId.of(FIRST),
            most=most,
        )
        tenants = {self.seam.id(TenantId, row[3]) for row in found if row[3] is not None}
        still: list[PauseId] = []
        wide: dict[PauseId, StreamId] = {}
        for row in (row for row in found if row[1] in WIDE):
            pause = self.seam.id(PauseId, row[0])
            begun = places.wide.get(pause)
            astray = await self._astray(row, begun, most)
            if not astray and begun is not None:
                astray = await self._astray(row, None, most)
            tenants |= {self.seam.id(TenantId, tenant) for _, tenant in astray}
            if not astray:
                still.append(pause)
            elif len(astray) == most:
                wide[pause] = self.seam.id(StreamId, astray[-1][0])
        end = self.seam.id(PauseId, found[-1][0]) if len(found) == most else None
        return tenants, tuple(still), replace(places, pause=end, wide=wide)

    async def _astray(self, pause: DriverRow, after: StreamId | None, most: int) -> Sequence[DriverRow]:
        """Return streams, with their tenants, that SES treats otherwise than a pause of many tenants wants."""
        _, kind, scope, _, end_reason = pause
        digits = "s.id" if self.seam.name == "sqlite" else "replace(CAST(s.id AS text), '-', '')"
        is_as_wanted = f'%"{SENDING}": "{"true" if end_reason else "false"}"%'
        return await self.run(
            f"SELECT s.id, s.tenant_id FROM stream s JOIN mirror m ON m.cell_id = s.cell_id AND m.kind = :kind"
            f" AND m.name = :prefix || {digits} AND m.attributes NOT LIKE :wanted"
            f" WHERE s.{WIDE[kind]} = :scope AND s.id > :after {f'AND NOT {BLOCKED}' if end_reason else ''}"
            " ORDER BY s.id LIMIT :most",
            kind=ResourceKind.CONFIGURATION_SET.value,
            prefix=NAME_PREFIX,
            wanted=is_as_wanted,
            scope=scope,
            after=after or StreamId.of(FIRST),
            most=most,
        )

    async def _settled_wide(self, cell: CellId, pauses: Sequence[PauseId]) -> tuple[list[PauseId], list[PauseId]]:
        """Return which of these pauses SES holds, and which are over: with nothing astray, asked inside the step."""
        settled: tuple[list[PauseId], list[PauseId]] = [], []
        for row in await self.run(
            "SELECT id, scope_kind, scope_id, tenant_id, end_reason FROM pause WHERE cell_id = :cell"
            f" AND {t.ON_ITS_WAY} AND id IN (SELECT w.id FROM {{w}})",
            relation("w(id uuid)", sorted((pause,) for pause in pauses)),
            cell=cell,
        ):
            if row[1] in WIDE and not await self._astray(row, None, 1):
                settled[bool(row[4])].append(self.seam.id(PauseId, row[0]))
        return settled

    # ---- what is known of them

    async def _known(self, cell: CellId, tenants: Collection[TenantId]) -> _Known:
        """Read what is wanted of these tenants, and of pools, with what SES has of it; a tenant's revision is read first."""
        ids = sorted(tenants)
        whose = {table: table.c.tenant_id.in_(ids) for table in (t.stream, t.identity)}
        of = {table: select(*OPEN_COLUMNS.get(table.name, table.c)).where(table.c.cell_id == cell).order_by(table.c.id)
              for table in (t.tenant, t.stream, t.identity, t.pool, t.pause)}  # fmt: skip
        if not ids:
            pools = [read_pool(row) for row in await rows(self.conn, of[t.pool])]
            wanted = Wanted({}, [], [], pools, [])
            return _Known(wanted, [], await self._mirror_of(cell, []), {})
        found = await rows(self.conn, of[t.tenant].where(t.tenant.c.id.in_(ids)))
        stops = of[t.pause].where(
            t.pause.c.ended_at.is_(None), or_(t.pause.c.tenant_id.in_(ids), t.pause.c.tenant_id.is_(None))
        )
        pauses = [read_pause(row) for row in await rows(self.conn, stops)]
        wanted = Wanted(
            tenants={row.id: read_tenant(row) for row in found},
            streams=[read_stream(row) for row in await rows(self.conn, of[t.stream].where(whose[t.stream]))],
            identities=[read_identity(row) for row in await rows(self.conn, of[t.identity].where(whose[t.identity]))],
            pools=[read_pool(row) for row in await rows(self.conn, of[t.pool])],
            pauses=[pause for pause in pauses if pause.end_reason is None],
        )
        wanted = replace(wanted, streams=[one for one in wanted.streams if one.tenant_id in wanted.tenants])
        return _Known(
            wanted=wanted,
            ending=[pause for pause in pauses if pause.end_reason is not None and pause.scope_kind not in WIDE],
            mirror=await self._mirror_of(cell, desired(wanted)),
            surveyed={row.id: (row.revision, row.surveyed) for row in found},
        )

    async def _mirror_of(self, cell: CellId, resources: Sequence[Resource]) -> list[Resource]:
        """Return what SES has of these, and every pool."""
        keys = sorted((one.kind.value, one.name) for one in resources if one.kind is not ResourceKind.POOL)
        found = await self.run("SELECT kind, name, attributes, observed FROM mirror WHERE cell_id = :cell AND kind = :kind",
                               cell=cell, kind=ResourceKind.POOL.value)  # fmt: skip
        if keys:
            found += await self.run(
                "SELECT m.kind, m.name, m.attributes, m.observed FROM {w} JOIN mirror m"
                " ON m.cell_id = :cell AND m.kind = w.kind AND m.name = w.name",
                relation("w(kind text, name text)", keys),
                cell=cell,
            )
        return [_seen(row) for row in found]

    async def _mirror_after(self, cell: CellId, after: Key | None, most: int) -> list[Resource]:
        kind, name = after or ("", "")
        found = await self.run(
            "SELECT kind, name, attributes, observed FROM mirror WHERE cell_id = :cell AND (kind, name) > (:kind, :name)"
            " ORDER BY kind, name LIMIT :most",
            cell=cell,
            kind=str(kind),
            name=name,
            most=most,
        )
        return [_seen(row) for row in found]

    async def _pending(self, cell: CellId, after: str, most: int) -> list[Resource]:
        """Return identities of which SES is known and that may not send yet, by name."""
        found = await self.run(
            "SELECT m.kind, m.name, m.attributes, m.observed FROM identity i JOIN mirror m"
            " ON m.cell_id = i.cell_id AND m.kind = 'identity' AND m.name = i.name"
            " WHERE i.cell_id = :cell AND i.status <> 'verified' AND i.name > :after ORDER BY i.name LIMIT :most",
            cell=cell,
            after=after,
            most=most,
        )
        return [_seen(row) for row in found]

    async def _sealed(self, known: _Known) -> list[Resource]:
        ids = [one.id for one in known.wanted.identities if one.selector]
        query = select(t.identity.c.name, t.identity.c.private_key).where(t.identity.c.id.in_(ids))
        sealed = {row.name: row.private_key.decode() for row in await rows(self.conn, query)} if ids else {}
        return [
            replace(resource, observed={"sealed_key": sealed[resource.name]})
            if resource.kind is ResourceKind.IDENTITY and resource.name in sealed
            else resource
            for resource in known.desired()
        ]


def _seen(row: DriverRow) -> Resource:
    kind, name, attributes, observed = row
    return Resource(ResourceKind(kind), name, json.loads(attributes), json.loads(observed))


def _is_stream(name: str) -> bool:
    digits = name.removeprefix(NAME_PREFIX)
    return name.startswith(NAME_PREFIX) and len(digits) == 32 and set(digits) <= set("0123456789abcdef")


def _unnoted(known: _Known, changes: Sequence[Change]) -> set[TenantId]:
    """Return the tenants of whom something came true that is not written down."""
    made, left = known.progress(), known.unsettled(changes)
    streams = {*made.provisioned, *made.lost}
    stops = {*made.fenced, *made.ended}
    scoped = {one.scope_id for one in (*known.wanted.pauses, *known.ending) if one.id in stops}
    return (
        {one.tenant_id for one in known.wanted.streams if one.id in streams or not scoped.isdisjoint(scopes(one))}
        | {tenant for tenant in known.wanted.tenants if tenant in scoped}
        | {one.tenant_id for one in made.identities}
        | {one for one, (revision, surveyed) in known.surveyed.items() if (surveyed != revision) != (one in left)}
    )
