"""Owns the fleet's figures: one look over all tenants that reads queues, open things and cells, and never the mail itself.

The largest thing read here is the waiting table, once and by its index; settled messages are conservation's, in portions.
Leaves what the figures mean to core.finding, and the database's own state to condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.core.figures import BuriedWorker, CellFigures, Figures, PauseFigures, WaitingFigures, WorkerFigures
from tenantry.core.ids import AttemptId, CellId, StreamId
from tenantry.core.message import MessageState
from tenantry.core.overdue import SILENCE
from tenantry.core.pause import Author, PauseState
from tenantry.core.tenant import IdentityStatus, StreamClass
from tenantry.store import tables as t
from tenantry.store.condition import database_figures
from tenantry.store.dispatch import won_back
from tenantry.store.opening import Opened, first, rows
from tenantry.store.partitions import first_id
from tenantry.store.recovery import NEVER
from tenantry.store.seam import DbRow
from tenantry.store.tables_run import DIED, worker
from tenantry.store.types import made_at

STRANDED_AFTER = timedelta(seconds=2)  # invariant 19: the sweep runs each second
BLIND_AFTER = timedelta(minutes=5)  # SES reports a hand-over within seconds
LAG_LOOKED_BACK = timedelta(minutes=10)
LAG_SAMPLE = 200  # of the newest mail that was heard of: what comes in now
LOOKED_BACK = timedelta(days=1)
STATEMENT_SECONDS = 10
BURIED_SHOWN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Waiting mail of one cell, class and gate."""

    cell: CellId
    waiting: WaitingFigures
    stranded: int


async def bounded(step: Opened) -> None:
    """Let no statement of this step take longer than a watcher waits, on PostgreSQL; SQLite's hold up nobody."""
    if step.dialect == "postgresql":
        await step.conn.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'"))


async def fleet_figures(step: Opened) -> Figures:
    """Return the figures of this moment."""
    conn, now = step.conn, step.now
    cells = await rows(conn, select(t.cell).order_by(t.cell.c.id))
    recovering = any(cell.recovering_since is not None for cell in cells)
    lanes = await _lanes(step, {cell.id: cell.name for cell in cells}, recovering=recovering)
    unknown, overdue, oldest = await _unknown(conn, now)
    return Figures(
        at=now,
        waiting=tuple(lane.waiting for lane in lanes),
        cells=tuple(await _cells(conn, now, cells, lanes)),
        pauses=tuple(await _pauses(conn)),
        workers=tuple(await _workers(conn)),
        buried=tuple(await _buried(conn, now)),
        database=await database_figures(step),
        unknown_messages=unknown,
        overdue_unknowns=overdue,
        oldest_unknown_at=oldest,
        unprovisioned_streams=await _count(conn, t.stream.c.id, t.stream.c.provisioned_at.is_(None)),
        pending_identities=await _count(conn, t.identity.c.id, *_stands(IdentityStatus.PENDING)),
        failed_identities=await _count(conn, t.identity.c.id, *_stands(IdentityStatus.FAILED)),
        quarantined_events=await _count(conn, t.quarantine.c.id),
    )


async def _count(conn: AsyncConnection, column: ColumnElement[object], *where: ColumnElement[bool]) -> int:
    return int(await conn.scalar(select(func.count(column)).where(*where)) or 0)


def _stands(status: IdentityStatus) -> tuple[ColumnElement[bool], ...]:
    """Match identities of a status that is not verified, in the words of their index."""
    return t.identity.c.status == status.value, t.identity.c.status != literal_column("'verified'")


def _waiting(step: Opened, *, recovered: bool) -> Select[tuple[StreamId, int, datetime, str, int]]:
    """Add up waiting mail lane by lane: what recovery holds, or all else."""
    waiting = t.waiting.c
    id_text = cast(waiting.message_id, Text).collate("C") if step.dialect == "postgresql" else waiting.message_id
    return (
        select(
            waiting.stream_id,
            func.count().label("messages"),
            func.min(waiting.due_at, type_=waiting.due_at.type).label("due_at"),
            func.min(id_text, type_=Text).label("oldest"),
            literal(int(recovered), Integer).label("recovered"),
        )
        .where(waiting.due_at >= NEVER if recovered else waiting.due_at < NEVER)
        .group_by(waiting.stream_id)
    )


async def _lanes(step: Opened, names: Mapping[CellId, str], *, recovering: bool) -> list[_Lanes]:
    """Add up waiting mail by cell, class, and whether a gate or a recovery holds it."""
    lane, stream = t.lane.c, t.stream.c
    free = _waiting(step, recovered=False)
    busy = (union_all(free, _waiting(step, recovered=True)) if recovering else free).subquery()
    scopes = select(t.pause.c.scope_id).where(t.pause.c.ended_at.is_(None))
    paused = or_(*(scope.in_(scopes) for scope in (lane.stream_id, lane.tenant_id, lane.pool_id, lane.cell_id)))
    held = case((or_(busy.c.recovered == 1, stream.provisioned_at.is_(None), paused), 1), else_=0).label("held")
    overdue = and_(~lane.ready, busy.c.due_at <= literal(step.now - STRANDED_AFTER, t.waiting.c.due_at.type))
    lanes = (
        select(
            lane.cell_id,
            lane.stream_class,
            held,
            busy.c.messages,
            busy.c.oldest,
            case((and_(overdue, stream.send_limit.is_(None)), 1), else_=0).label("overdue"),
        )
        .join_from(busy, t.lane, lane.stream_id == busy.c.stream_id)
        .join(t.stream, stream.id == lane.stream_id)
        .subquery()
    )
    query = select(
        lanes.c.cell_id,
        lanes.c.stream_class,
        lanes.c.held,
        func.sum(lanes.c.messages).label("messages"),
        func.min(lanes.c.oldest, type_=Text).label("oldest"),
        func.sum(lanes.c.overdue).label("overdue"),
    ).group_by(lanes.c.cell_id, lanes.c.stream_class, lanes.c.held)
    return [
        _Lanes(
            row.cell_id,
            WaitingFigures(
                cell=names[row.cell_id],
                stream_class=StreamClass(row.stream_class),
                held=bool(row.held),
                messages=int(row.messages),
                oldest_at=made_at(row.oldest),
            ),
            stranded=0 if row.held else int(row.overdue),
        )
        for row in await rows(step.conn, query)
    ]


async def _unknown(conn: AsyncConnection, now: datetime) -> tuple[int, int, datetime | None]:
    """Return how many messages have an unknown outcome, how many of them for long, and since when the first has."""
    since = (
        select(func.max(t.attempt.c.finished_at).label("at"))
        .join_from(t.message, t.attempt, t.attempt.c.message_id == t.message.c.id)
        .where(t.message.c.state == MessageState.UNKNOWN.value)
        .group_by(t.message.c.id)
        .subquery()
    )
    at = t.attempt.c.finished_at.type
    long_ago = case((since.c.at <= literal(now - SILENCE, at), 1), else_=0)
    row = await first(
        conn,
        select(
            func.count().label("number"),
            func.coalesce(func.sum(long_ago), 0).label("overdue"),
            func.min(since.c.at, type_=at).label("oldest"),
        ).select_from(since),
    )
    assert row is not None
    return row.number, int(row.overdue), row.oldest


async def _pauses(conn: AsyncConnection) -> list[PauseFigures]:
    pause = t.pause.c
    state = case(
        (pause.fenced_at.is_not(None), PauseState.FENCED.value),
        (pause.local_at.is_not(None), PauseState.LOCAL.value),
        else_=PauseState.OPENING.value,
    )
    query = (
        select(
            pause.author,
            state.label("state"),
            func.count().label("number"),
            func.min(pause.opened_at, type_=pause.opened_at.type).label("oldest"),
        )
        .where(pause.ended_at.is_(None), pause.end_reason.is_(None))
        .group_by(pause.author, state)
    )
    return [
        PauseFigures(Author(row.author), PauseState(row.state), row.number, row.oldest)
        for row in await rows(conn, query)
    ]


async def _workers(conn: AsyncConnection) -> list[WorkerFigures]:
    query = (
        select(worker.c.name, worker.c.host, worker.c.pid, worker.c.seen_at, worker.c.trouble)
        .where(worker.c.ended_at.is_(None))
        .order_by(worker.c.id)
    )
    return [WorkerFigures(row.name, row.host, row.pid, row.seen_at, row.trouble) for row in await rows(conn, query)]


async def _buried(conn: AsyncConnection, now: datetime) -> list[BuriedWorker]:
    query = (
        select(worker.c.name, worker.c.host, worker.c.pid, worker.c.seen_at, worker.c.ended_at)
        .where(worker.c.ended_at > now - BURIED_SHOWN, worker.c.trouble == DIED)
        .order_by(worker.c.id)
    )
    return [BuriedWorker(row.name, row.host, row.pid, row.seen_at, row.ended_at) for row in await rows(conn, query)]


async def _cells(
    conn: AsyncConnection, now: datetime, cells: Sequence[DbRow], lanes: Sequence[_Lanes]
) -> list[CellFigures]:
    claims = {row.cell_id: row for row in await rows(conn, _open_claims())}
    verdicts = {row.cell_id: row.number for row in await rows(conn, _due_verdicts())}
    lags = await _lags(conn, now)
    found: list[CellFigures] = []
    for row in cells:
        open_claims = claims.get(row.id)
        found.append(
            CellFigures(
                name=row.name,
                rate_per_second=row.rate_per_second,
                backoff=won_back(row.backoff, max(0.0, (now - row.tokens_at).total_seconds())),
                quota_24h=row.quota_24h,
                sent_24h=row.sent_24h,
                sending_enabled=row.sending_enabled,
                enforcement=row.enforcement,
                seen_at=row.seen_at,
                events_at=row.events_at,
                feed_lag_seconds=lags.get(row.id),
                blind=await _blind(conn, now, row.id, row.events_at),
                breaker_opened_at=row.breaker_opened_at,
                recovering_since=row.recovering_since,
                open_claims=open_claims.number if open_claims else 0,
                oldest_claim_at=open_claims.oldest if open_claims else None,
                stranded_lanes=sum(lane.stranded for lane in lanes if lane.cell == row.id),
                due_verdicts=verdicts.get(row.id, 0),
            )
        )
    return found


def _open_claims() -> Select[tuple[CellId, int, datetime]]:
    attempt = t.attempt.c
    return (
        select(
            attempt.cell_id,
            func.count().label("number"),
            func.min(attempt.claimed_at, type_=attempt.claimed_at.type).label("oldest"),
        )
        .where(attempt.finished_at.is_(None))
        .group_by(attempt.cell_id)
    )


def _due_verdicts() -> Select[tuple[CellId, int]]:
    verdict = t.verdict.c
    return (
        select(verdict.cell_id, func.count().label("number"))
        .where(verdict.acted_at.is_(None))
        .group_by(verdict.cell_id)
    )


async def _lags(conn: AsyncConnection, now: datetime) -> dict[CellId, float]:
    """Return by cell the longest way of the events that came last: those of the newest mail that was heard of."""
    event, tenant = t.event.c, t.tenant.c
    newest = (
        select(event.tenant_id, event.at, event.seen_at).order_by(event.message_id.desc()).limit(LAG_SAMPLE).subquery()
    )
    query = (
        select(tenant.cell_id, newest.c.at, newest.c.seen_at)
        .join_from(newest, t.tenant, tenant.id == newest.c.tenant_id)
        .where(newest.c.seen_at >= literal(now - LAG_LOOKED_BACK, event.seen_at.type))
    )
    lags: dict[CellId, float] = {}
    for row in await rows(conn, query):
        lags[row.cell_id] = max(lags.get(row.cell_id, 0.0), (row.seen_at - row.at).total_seconds())
    return lags


async def _blind(conn: AsyncConnection, now: datetime, cell: CellId, events_at: datetime | None) -> bool:
    """Say whether a cell handed mail over, minutes ago, and has heard of none since."""
    if events_at is not None and events_at >= now - BLIND_AFTER:
        return False
    since = max(events_at or now - LOOKED_BACK, now - LOOKED_BACK)
    attempt = t.attempt.c
    handed = exists().where(
        attempt.id >= AttemptId.of(first_id(since)),  # ids are made in the order of time
        attempt.cell_id == cell,
        attempt.outcome == "handed",
        attempt.finished_at < now - BLIND_AFTER,
    )
    return bool(await conn.scalar(select(handed)))
