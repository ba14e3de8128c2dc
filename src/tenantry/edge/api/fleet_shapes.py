"""Owns the JSON shapes of what operators look at: pauses, pools, cells, changes, waits, explanations and findings."""

from __future__ import annotations

from datetime import datetime

from tenantry.core.explanation import Explanation
from tenantry.core.finding import Finding
from tenantry.core.pause import Pause
from tenantry.core.plan import Change
from tenantry.core.reading import StreamWaits
from tenantry.core.tenant import Cell, Pool, Stream, Tenant
from tenantry.edge.api.shapes import Shape


class PauseOut(Shape):
    """A stop, and how far it holds."""

    id: str
    scope_kind: str
    scope_id: str
    author: str
    reason: str
    state: str
    opened_at: datetime
    local_at: datetime | None
    fenced_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    verdict_id: str | None

    @classmethod
    def of(cls, pause: Pause) -> PauseOut:
        """Show a pause."""
        return cls(
            id=pause.id,
            scope_kind=pause.scope_kind,
            scope_id=pause.scope_id,
            author=pause.author,
            reason=pause.reason,
            state=pause.state,
            opened_at=pause.opened_at,
            local_at=pause.local_at,
            fenced_at=pause.fenced_at,
            ended_at=pause.ended_at,
            end_reason=pause.end_reason,
            verdict_id=pause.verdict_id,
        )


class PoolOut(Shape):
    """A group of dedicated IPs, or the shared one."""

    id: str
    cell_id: str
    name: str
    kind: str

    @classmethod
    def of(cls, pool: Pool) -> PoolOut:
        """Show a pool."""
        return cls(id=pool.id, cell_id=pool.cell_id, name=pool.name, kind=pool.kind)


class CellOut(Shape):
    """One SES account in one Region, as GetAccount last showed it."""

    id: str
    name: str
    region: str
    rate_per_second: float
    quota_24h: float
    sent_24h: float
    sending_enabled: bool
    enforcement: str
    seen_at: datetime | None

    @classmethod
    def of(cls, cell: Cell) -> CellOut:
        """Show a cell."""
        return cls(
            id=cell.id,
            name=cell.name,
            region=cell.region,
            rate_per_second=cell.rate_per_second,
            quota_24h=cell.quota_24h,
            sent_24h=cell.sent_24h,
            sending_enabled=cell.sending_enabled,
            enforcement=cell.enforcement,
            seen_at=cell.seen_at,
        )


class ChangeOut(Shape):
    """One step that provision would make in SES now."""

    action: str
    kind: str
    name: str
    urgency: str
    differs: list[str]
    attributes: dict[str, str]

    @classmethod
    def of(cls, change: Change) -> ChangeOut:
        """Show a change."""
        resource = change.resource
        return cls(
            action="delete" if change.delete else "change" if change.differs else "create",
            kind=resource.kind,
            name=resource.name,
            urgency=change.urgency,
            differs=list(change.differs),
            attributes=dict(resource.attributes),
        )


class WaitsOut(Shape):
    """A stream's recipients by state, and how long its mail waited."""

    stream_id: str
    stream: str
    tenant_id: str
    tenant: str
    accepted: int
    states: dict[str, int]
    oldest_waiting_at: datetime | None
    wait_p50_seconds: float | None
    wait_p99_seconds: float | None

    @classmethod
    def of(cls, tenant: Tenant, stream: Stream, waits: StreamWaits) -> WaitsOut:
        """Show a stream's waits."""
        return cls(
            stream_id=stream.id,
            stream=stream.name,
            tenant_id=tenant.id,
            tenant=tenant.name,
            accepted=waits.accepted,
            states=dict(waits.states),
            oldest_waiting_at=waits.oldest_waiting_at,
            wait_p50_seconds=waits.wait_p50_seconds,
            wait_p99_seconds=waits.wait_p99_seconds,
        )


class ExplanationOut(Shape):
    """Why something is as it is, and what to look at next."""

    id: str
    kind: str
    summary: str
    sentences: list[str]
    see: list[str]

    @classmethod
    def of(cls, explanation: Explanation) -> ExplanationOut:
        """Show an explanation."""
        return cls(
            id=explanation.id,
            kind=explanation.kind,
            summary=explanation.summary,
            sentences=list(explanation.sentences),
            see=list(explanation.see),
        )


class FindingOut(Shape):
    """One thing that doctor found."""

    level: str
    check: str
    what: str
    why: str
    do: str

    @classmethod
    def of(cls, finding: Finding) -> FindingOut:
        """Show a finding."""
        return cls(level=finding.level, check=finding.check, what=finding.what, why=finding.why, do=finding.do)
