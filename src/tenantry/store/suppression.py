"""Owns a tenant's suppressions as people read and change them; leaves those that events add to ingest.py."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from tenantry.core.ids import StreamId, TenantId
from tenantry.core.suppression import Cause, NewSuppression, Suppressed, SuppressionFilter
from tenantry.ports import Page, StoreRejected
from tenantry.store import tables as t
from tenantry.store.opening import Opened, Opener, rows
from tenantry.store.paging import cursor_at, texts_of
from tenantry.store.seam import DbRow

ROWS_AT_A_TIME = 500
WHOLE = ""  # the scope of what holds for all streams


class SuppressionScope:
    """Implements ports.SuppressionStore for one tenant."""

    _store: Opener
    _id: TenantId

    async def suppressions(self, wanted: SuppressionFilter, cursor: str | None, limit: int) -> Page[Suppressed]:
        """See ports.SuppressionStore."""
        entry = t.suppression.c
        where = [entry.tenant_id == self._id, *_conditions(wanted)]
        if cursor is not None:
            address, scope = texts_of(cursor, 2)
            where.append(or_(entry.address > address, and_(entry.address == address, entry.scope > scope)))
        query = select(t.suppression).where(*where).order_by(entry.address, entry.scope).limit(limit + 1)
        async with self._store.reading() as step:
            found = await rows(step.conn, query)
        more = len(found) > limit
        return Page(
            [_read(row) for row in found[:limit]],
            cursor_at(found[limit - 1].address, found[limit - 1].scope) if more else None,
        )

    async def suppress(self, entries: Sequence[NewSuppression]) -> int:
        """See ports.SuppressionStore."""
        wanted = {(one.address, _scope(one.stream_id)): one.cause for one in entries}
        keys = sorted(wanted)  # in one order, so that two that write the same addresses wait for each other
        new = 0
        async with self._store.step() as step:
            await self._check_streams(step, {one.stream_id for one in entries if one.stream_id is not None})
            for start in range(0, len(keys), ROWS_AT_A_TIME):
                new += await self._write(step, [(*key, wanted[key]) for key in keys[start : start + ROWS_AT_A_TIME]])
        return new

    async def unsuppress(self, addresses: Sequence[str], stream_id: StreamId | None = None) -> int:
        """See ports.SuppressionStore."""
        entry = t.suppression.c
        where = [entry.tenant_id == self._id] + ([] if stream_id is None else [entry.scope == _scope(stream_id)])
        unique = sorted(set(addresses))
        gone: set[str] = set()
        async with self._store.step() as step:
            for start in range(0, len(unique), ROWS_AT_A_TIME):
                part = unique[start : start + ROWS_AT_A_TIME]
                done = delete(t.suppression).where(*where, entry.address.in_(part)).returning(entry.address)
                gone.update((await step.conn.execute(done)).scalars())
        return len(gone)

    async def _check_streams(self, step: Opened, wanted: set[StreamId]) -> None:
        if not wanted:
            return
        mine = select(t.stream.c.id).where(t.stream.c.tenant_id == self._id, t.stream.c.id.in_(sorted(wanted)))
        if {row.id for row in await rows(step.conn, mine)} != wanted:
            raise StoreRejected("There is no such stream.")

    async def _write(self, step: Opened, entries: Sequence[tuple[str, str, Cause]]) -> int:
        entry = t.suppression.c
        keys = [(address, scope) for address, scope, _ in entries]
        known = select(func.count()).where(entry.tenant_id == self._id, tuple_(entry.address, entry.scope).in_(keys))
        before = int(await step.conn.scalar(known) or 0)
        insert = postgresql.insert(t.suppression) if step.dialect == "postgresql" else sqlite.insert(t.suppression)
        fresh = {name: insert.excluded[name] for name in ("cause", "created_at")}
        await step.conn.execute(
            insert.on_conflict_do_update(index_elements=["tenant_id", "address", "scope"], set_=fresh),
            [
                {
                    "tenant_id": self._id,
                    "address": address,
                    "scope": scope,
                    "cause": cause.value,
                    "created_at": step.now,
                }
                for address, scope, cause in entries
            ],
        )
        return len(entries) - before


def _conditions(wanted: SuppressionFilter) -> list[ColumnElement[bool]]:
    entry = t.suppression.c
    where: list[ColumnElement[bool]] = []
    if wanted.address is not None:
        where.append(entry.address == wanted.address)
    if wanted.causes:
        where.append(entry.cause.in_(sorted(cause.value for cause in wanted.causes)))
    if wanted.stream_id is not None:
        where.append(entry.scope.in_((WHOLE, _scope(wanted.stream_id))))
    if wanted.since is not None:
        where.append(entry.created_at >= wanted.since)
    if wanted.until is not None:
        where.append(entry.created_at <= wanted.until)
    if wanted.once:  # the tenant-wide scope sorts before each stream's
        other = t.suppression.alias("other")
        same = other.c.tenant_id == entry.tenant_id, other.c.address == entry.address, other.c.scope < entry.scope
        where.append(~select(other.c.scope).where(*same).exists())
    return where


def _scope(stream_id: StreamId | None) -> str:
    return WHOLE if stream_id is None else stream_id.rpartition("_")[2]


def _read(row: DbRow) -> Suppressed:
    stream = StreamId(f"{StreamId.prefix}_{row.scope}") if row.scope else None
    return Suppressed(row.address, Cause(row.cause), stream, row.created_at)
