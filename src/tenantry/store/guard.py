"""Owns the guard's reads and writes: blocks, verdicts, pauses, limits and cohorts; leaves judging and acting to the flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select

from tenantry.core.ids import CellId, PauseId, StreamId, TenantId, VerdictId
from tenantry.core.pause import Author, Pause, ScopeId
from tenantry.core.policy import Action, LineKind, Verdict
from tenantry.core.reading import VerdictView
from tenantry.core.reputation import BUCKET_RECIPIENTS, Block, Span, blocks
from tenantry.core.tenant import Stream
from tenantry.store import tables
from tenantry.store.rows import read_pause, read_stream, read_verdict
from tenantry.store.seam import Queries, relation

SCOPE_COLUMN = {"stream": "stream_id", "tenant": "tenant_id", "pool": "pool_id", "cell": "cell_id"}


class GuardQueries(Queries):
    """Implements ports.GuardStep."""

    async def stream(self, stream_id: StreamId) -> Stream:
        """See ports.GuardStep."""
        return read_stream(
            (await self.conn.execute(select(tables.stream).where(tables.stream.c.id == stream_id))).one()
        )

    async def blocks(self, stream_id: StreamId, cohort: int, bucket: int) -> Mapping[LineKind, Sequence[Block]]:
        """See ports.GuardStep."""
        spans = blocks(bucket)
        found = await self.run(
            "SELECT w.start, w.size, SUM(b.handed), SUM(b.bounced), SUM(b.reporting), SUM(b.complained) FROM {w}"
            " JOIN bucket b ON b.stream_id = :stream AND b.cohort = :cohort"
            " AND b.number >= w.start AND b.number < w.start + w.size GROUP BY w.start, w.size ORDER BY w.size",
            relation("w(start bigint, size bigint)", [(span.start, span.buckets) for span in spans]),
            stream=stream_id,
            cohort=cohort,
        )
        counted = [[int(value) for value in row] for row in found]
        complaints = await self._complaints(stream_id, cohort, spans[-1]) if counted and counted[-1][5] else ()
        return {
            LineKind.BOUNCE: [Block(start, size, n, min(x, n), 1) for start, size, n, x, _, _ in counted],
            LineKind.COMPLAINT: [
                Block(start, size, n, min(x, n), _domains(complaints, Span(start, size)))
                for start, size, _, _, n, x in counted
            ],
        }

    async def _complaints(self, stream_id: StreamId, cohort: int, span: Span) -> Sequence[tuple[int, str]]:
        """Return (ordinal, domain) of each recipient in the span who complained."""
        found = await self.run(
            "SELECT ordinal, address FROM recipient WHERE stream_id = :stream AND cohort = :cohort"
            " AND complained_at IS NOT NULL AND ordinal >= :first AND ordinal < :last",
            stream=stream_id,
            cohort=cohort,
            first=span.start * BUCKET_RECIPIENTS,
            last=(span.start + span.buckets) * BUCKET_RECIPIENTS,
        )
        return [(ordinal, address.rpartition("@")[2]) for ordinal, address in found]

    async def insert_verdict(self, stream: Stream, verdict: Verdict) -> None:
        """See ports.GuardStep."""
        await self.run(
            "INSERT INTO verdict (id, tenant_id, stream_id, cell_id, kind, action, cohort, block_start, block_size, n, x, line,"
            " log_e, bar, policy, words, at, acted_at) VALUES (:id, :tenant, :stream, :cell, :kind, :action, :cohort, :start,"
            " :size, :n, :x, :line, :log_e, :bar, :policy, :words, :now, :acted) ON CONFLICT DO NOTHING",
            id=self.new_id(VerdictId),
            tenant=stream.tenant_id,
            stream=stream.id,
            cell=stream.cell_id,
            kind=verdict.kind,
            action=verdict.action,
            cohort=stream.cohort,
            start=verdict.block.first_recipient,
            size=verdict.block.size,
            n=verdict.block.n,
            x=verdict.block.x,
            line=verdict.line,
            log_e=verdict.log_e,
            bar=verdict.bar,
            policy=f"{verdict.policy} {verdict.version}",
            words=verdict.words(),
            now=self.now,
            acted=None if verdict.acts else self.now,
        )

    async def due_verdicts(self, cell: CellId) -> Sequence[VerdictView]:
        """See ports.GuardStep."""
        due = select(tables.verdict).where(tables.verdict.c.cell_id == cell, tables.verdict.c.acted_at.is_(None))
        return [read_verdict(row) for row in await self.conn.execute(due.order_by(tables.verdict.c.id))]

    async def acted(self, verdict_id: VerdictId, pause_id: PauseId | None) -> None:
        """See ports.GuardStep."""
        await self.run(
            "UPDATE verdict SET acted_at = :now, pause_id = :pause WHERE id = :id",
            now=self.now,
            pause=pause_id,
            id=verdict_id,
        )

    async def open_pause(
        self, scope: tuple[str, ScopeId], author: Author, reason: str, verdict_id: VerdictId | None
    ) -> Pause | None:
        """See ports.GuardStep."""
        kind, scope_id = scope
        owner = await self.scope_owner(kind, scope_id)
        if owner is None:
            return None
        cell, tenant = owner
        await self.run(
            "INSERT INTO pause (id, scope_kind, scope_id, cell_id, tenant_id, author, reason, verdict_id, opened_at)"
            " VALUES (:id, :kind, :scope, :cell, :tenant, :author, :reason, :verdict, :now) ON CONFLICT DO NOTHING",
            id=self.new_id(PauseId),
            kind=kind,
            scope=scope_id,
            cell=cell,
            tenant=tenant,
            author=author,
            reason=reason,
            verdict=verdict_id,
            now=self.now,
        )
        # a pause that was about to end holds again
        await self.run(
            "UPDATE pause SET end_reason = NULL, fenced_at = NULL WHERE scope_id = :scope AND author = :author"
            " AND ended_at IS NULL AND end_reason IS NOT NULL",
            scope=scope_id,
            author=author,
        )
        found = await self.run(
            "SELECT id FROM pause WHERE scope_id = :scope AND author = :author AND ended_at IS NULL",
            scope=scope_id,
            author=author,
        )
        return await self.pause(self.seam.id(PauseId, found[0][0]))

    async def scope_owner(self, kind: str, scope_id: ScopeId) -> tuple[CellId, TenantId | None] | None:
        """See ports.GuardStep."""
        columns = {"stream": "cell_id, tenant_id", "tenant": "cell_id, id", "pool": "cell_id, NULL", "cell": "id, NULL"}
        found = await self.run(f"SELECT {columns[kind]} FROM {kind} WHERE id = :id", id=scope_id)
        if not found:
            return None
        cell, tenant = found[0]
        return self.seam.id(CellId, cell), None if tenant is None else self.seam.id(TenantId, tenant)

    async def draining(self, pause_id: PauseId, deadline: datetime) -> int:
        """See ports.GuardStep."""
        pause = await self.pause(pause_id)
        if pause is None:
            return 0
        found = await self.run(
            "SELECT COUNT(*) FROM attempt WHERE cell_id = (SELECT cell_id FROM pause WHERE id = :pause)"
            f" AND finished_at IS NULL AND claimed_at <= :opened AND claimed_at > :deadline"
            f" AND {SCOPE_COLUMN[pause.scope_kind]} = :scope",
            pause=pause_id,
            opened=pause.opened_at,
            deadline=deadline,
            scope=pause.scope_id,
        )
        return int(found[0][0])

    async def undrained(self, cell: CellId) -> Sequence[PauseId]:
        """See ports.GuardStep."""
        found = await self.run(
            "SELECT id FROM pause WHERE cell_id = :cell AND ended_at IS NULL AND local_at IS NULL ORDER BY id",
            cell=cell,
        )
        return [self.seam.id(PauseId, row[0]) for row in found]

    async def mark_local(self, pause_id: PauseId) -> None:
        """See ports.GuardStep."""
        await self.run("UPDATE pause SET local_at = COALESCE(local_at, :now) WHERE id = :id", now=self.now, id=pause_id)

    async def pause(self, pause_id: PauseId) -> Pause | None:
        """See ports.GuardStep."""
        row = (await self.conn.execute(select(tables.pause).where(tables.pause.c.id == pause_id))).one_or_none()
        return read_pause(row) if row else None

    async def end_pause(self, pause_id: PauseId, reason: str) -> None:
        """See ports.GuardStep."""
        await self.run(
            "UPDATE pause SET end_reason = :reason WHERE id = :id AND ended_at IS NULL", reason=reason, id=pause_id
        )

    async def begin_cohort(self, stream_id: StreamId, limit: float, stage: int) -> None:
        """See ports.GuardStep."""
        await self.run(
            "UPDATE stream SET cohort = cohort + 1, handed = 0, send_limit = :limit, ramp_stage = :stage, stage_at = :now,"
            " stage_handed = 0 WHERE id = :id",
            limit=limit,
            stage=stage,
            now=self.now,
            id=stream_id,
        )

    async def set_limit(self, stream_id: StreamId, limit: float | None, stage: int | None) -> None:
        """See ports.GuardStep."""
        await self.run(
            "UPDATE stream SET send_limit = :limit, ramp_stage = :stage, stage_at = :now, stage_handed = handed WHERE id = :id",
            limit=limit,
            stage=stage,
            now=self.now,
            id=stream_id,
        )
        # what gathered since the lane's last mail did so at the old limit: it must not count at the new one
        await self.run("UPDATE lane SET tokens_at = :now WHERE stream_id = :id", now=self.now, id=stream_id)

    async def ramping(self, cell: CellId) -> Sequence[tuple[Stream, datetime, int]]:
        """See ports.GuardStep."""
        on_ramp = select(tables.stream).where(tables.stream.c.cell_id == cell, tables.stream.c.ramp_stage.is_not(None))
        rows = (await self.conn.execute(on_ramp.order_by(tables.stream.c.id))).all()
        return [(read_stream(row), row.stage_at, row.handed - row.stage_handed) for row in rows]

    async def worst_since(self, stream_id: StreamId, cohort: int, since: datetime) -> Action:
        """See ports.GuardStep."""
        found = await self.run(
            "SELECT action FROM verdict WHERE stream_id = :stream AND cohort = :cohort AND at > :since",
            stream=stream_id,
            cohort=cohort,
            since=since,
        )
        return max((Action(action) for (action,) in found), key=lambda action: action.severity, default=Action.KEEP)


def _domains(complaints: Sequence[tuple[int, str]], span: Span) -> int:
    first = span.start * BUCKET_RECIPIENTS
    last = first + span.buckets * BUCKET_RECIPIENTS
    return len({domain for ordinal, domain in complaints if first <= ordinal < last})
