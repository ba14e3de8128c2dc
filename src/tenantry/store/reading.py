"""Owns the queries behind what people read: messages with timelines, reputations, waits; leaves scopes to manage.py."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Row, Table, and_, case, exists, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.core.event import Fact
from tenantry.core.ids import Id, MessageId, StreamId, TenantId
from tenantry.core.reading import MessageView, RecipientView, ReputationView, StreamWaits, TimelineEntry
from tenantry.core.standing import standing
from tenantry.ports import MessageFilter, Page
from tenantry.store import tables as t
from tenantry.store.opening import cursor_after, first, read_cursor, rows
from tenantry.store.rows import read_stream, read_verdict

AnyRow = Row[*tuple[object, ...]]
WAITS_SAMPLE = 5_000  # the last recipients handed over that the quantiles are taken of
VERDICTS_SHOWN = 50
shown_state = case(
    (
        and_(t.message.c.state == literal_column("'waiting'"), t.waiting.c.message_id.is_(None)),
        literal_column("'claimed'"),
    ),
    else_=t.message.c.state,
)
"""Where a message is: a claim takes it out of waiting and leaves its row alone, which spares the turn a write."""


async def message_view(conn: AsyncConnection, tenant_id: TenantId, message_id: MessageId) -> MessageView | None:
    """Return one message of this tenant, or None."""
    views = await _views(conn, [t.message.c.tenant_id == tenant_id, t.message.c.id == message_id], limit=1)
    return views[0] if views else None


async def message_page(
    conn: AsyncConnection, tenant_id: TenantId, wanted: MessageFilter, cursor: str | None, limit: int
) -> Page[MessageView]:
    """Return this tenant's messages, newest first."""
    where: list[ColumnElement[bool]] = [t.message.c.tenant_id == tenant_id]
    if wanted.stream_id is not None:
        where.append(t.message.c.stream_id == wanted.stream_id)
    if wanted.state is not None:
        where.append(shown_state == wanted.state)
    if wanted.recipient is not None:
        to = select(t.recipient.c.number).where(
            t.recipient.c.message_id == t.message.c.id, func.lower(t.recipient.c.address) == wanted.recipient.lower()
        )
        where.append(exists(to))
    if cursor is not None:
        where.append(t.message.c.id < read_cursor(cursor, MessageId))
    views = await _views(conn, where, limit + 1)
    return Page(views[:limit], cursor_after(views[limit - 1].id) if len(views) > limit else None)


async def _views(conn: AsyncConnection, where: Sequence[ColumnElement[bool]], limit: int) -> list[MessageView]:
    """Read messages and all that happened to them: four queries, however many messages there are."""
    query = (
        select(
            t.message,
            shown_state.label("shown_state"),
            t.stream.c.name.label("stream_name"),
            t.waiting.c.hold,
            t.waiting.c.due_at,
        )
        .join(t.stream, t.stream.c.id == t.message.c.stream_id)
        .outerjoin(t.waiting, t.waiting.c.message_id == t.message.c.id)
        .where(*where)
        .order_by(t.message.c.id.desc())
        .limit(limit)
    )
    found = await rows(conn, query)
    ids = [row.id for row in found]
    recipients = await _by_message(conn, t.recipient, ids, t.recipient.c.number)
    attempts = await _by_message(conn, t.attempt, ids, t.attempt.c.id)
    events = await _by_message(conn, t.event, ids, t.event.c.at)
    return [_view(row, recipients[row.id], _timeline(row, attempts[row.id], events[row.id])) for row in found]


async def _by_message(
    conn: AsyncConnection, table: Table, ids: Sequence[Id], order: ColumnElement[object]
) -> dict[Id, list[AnyRow]]:
    gathered: dict[Id, list[AnyRow]] = defaultdict(list)
    if ids:
        for row in await rows(conn, select(table).where(table.c.message_id.in_(ids)).order_by(order)):
            gathered[row.message_id].append(row)
    return gathered


def _view(row: AnyRow, recipients: Sequence[AnyRow], timeline: tuple[TimelineEntry, ...]) -> MessageView:
    return MessageView(
        id=row.id,
        tenant_id=row.tenant_id,
        stream_id=row.stream_id,
        stream=row.stream_name,
        state=row.shown_state,
        hold=row.hold,
        subject=row.subject,
        sender=row.sender,
        tags=json.loads(row.tags),
        accepted_at=row.accepted_at,
        due_at=row.due_at,
        ses_id=row.ses_id,
        possible_duplicate=row.possible_duplicate,
        reason=row.reason,
        recipients=tuple(_recipient(each) for each in recipients),
        timeline=timeline,
    )


def _recipient(row: AnyRow) -> RecipientView:
    facts = Fact(row.facts)
    return RecipientView(row.address, row.kind, standing(facts), facts)


def _timeline(row: AnyRow, attempts: Sequence[AnyRow], events: Sequence[AnyRow]) -> tuple[TimelineEntry, ...]:
    """Tell what happened, oldest first; what happened at one instant stands in the order of its causes."""
    entries = [TimelineEntry(row.accepted_at, "accepted")]
    for attempt in attempts:
        number = {"attempt": str(attempt.number)}
        entries.append(TimelineEntry(attempt.claimed_at, "claimed", detail=number))
        if attempt.finished_at is not None:
            reason = {"reason": attempt.reason} if attempt.reason else {}
            entries.append(TimelineEntry(attempt.finished_at, attempt.outcome or "finished", detail=number | reason))
    for event in events:
        named = tuple(str(address) for address in json.loads(event.recipients))
        entries.append(TimelineEntry(event.at, event.kind, named, json.loads(event.detail)))
    if row.settled_at is not None:
        why = {"reason": row.reason} if row.reason else None
        entries.append(TimelineEntry(row.settled_at, f"settled: {row.state}", detail=why))
    return tuple(sorted(entries, key=lambda entry: entry.at))


async def reputation_view(conn: AsyncConnection, tenant_id: TenantId, stream_id: StreamId) -> ReputationView | None:
    """Return what this stream's mail amounted to since its cohort began, with its latest verdicts, newest first."""
    mine = select(t.stream).where(t.stream.c.tenant_id == tenant_id, t.stream.c.id == stream_id)
    row = await first(conn, mine)
    if row is None:
        return None
    stream, bucket = read_stream(row), t.bucket.c
    sums = select(
        *(func.coalesce(func.sum(c), 0).label(c.name)
          for c in (bucket.handed, bucket.bounced, bucket.reporting, bucket.complained))
    ).where(bucket.stream_id == stream_id, bucket.cohort == stream.cohort)  # fmt: skip
    totals = await first(conn, sums)
    assert totals is not None
    verdicts = (
        select(t.verdict)
        .where(t.verdict.c.tenant_id == tenant_id, t.verdict.c.stream_id == stream_id)
        .order_by(t.verdict.c.id.desc())
        .limit(VERDICTS_SHOWN)
    )
    return ReputationView(
        stream_id=stream_id,
        cohort=stream.cohort,
        handed=int(totals.handed),
        bounced=int(totals.bounced),
        reporting=int(totals.reporting),
        complained=int(totals.complained),
        limit=stream.limit,
        ramp_stage=stream.ramp_stage,
        policy=stream.policy,
        verdicts=tuple(read_verdict(each) for each in await rows(conn, verdicts)),
    )


async def stream_waits(conn: AsyncConnection, tenant_id: TenantId) -> list[StreamWaits]:
    """Return, for each stream, its recipients by state and how long its last mail waited."""
    streams = await rows(conn, select(t.stream.c.id).where(t.stream.c.tenant_id == tenant_id).order_by(t.stream.c.id))
    states = await _states(conn, tenant_id)
    accepted = await _per_stream(conn, tenant_id, func.sum(t.message.c.recipients))
    oldest = await _oldest_waiting(conn, tenant_id)
    found: list[StreamWaits] = []
    for row in streams:
        stream_id = row.id
        waited = await _waited(conn, tenant_id, stream_id)
        found.append(
            StreamWaits(
                stream_id=stream_id,
                states=states[stream_id],
                accepted=accepted.get(stream_id, 0),
                oldest_waiting_at=oldest.get(stream_id),
                wait_p50_seconds=quantile(waited, 0.50),
                wait_p99_seconds=quantile(waited, 0.99),
            )
        )
    return found


def quantile(ordered: Sequence[float], fraction: float) -> float | None:
    """Return the smallest value that at least this fraction of an ascending sequence does not exceed; None for none."""
    return ordered[max(-int(-fraction * len(ordered) // 1) - 1, 0)] if ordered else None


async def _states(conn: AsyncConnection, tenant_id: TenantId) -> dict[Id, dict[str, int]]:
    """Count recipients by what their facts amount to; one that nothing is known of is where its message is."""
    query = (
        select(
            t.recipient.c.stream_id, t.recipient.c.facts, shown_state.label("place"), func.count().label("recipients")
        )
        .join(t.message, t.message.c.id == t.recipient.c.message_id)
        .outerjoin(t.waiting, t.waiting.c.message_id == t.message.c.id)
        .where(t.message.c.tenant_id == tenant_id)
        .group_by(t.recipient.c.stream_id, t.recipient.c.facts, shown_state)
    )
    states: dict[Id, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in await rows(conn, query):
        stands = standing(Fact(row.facts))
        name = row.place if stands is Fact.QUEUED else str(stands.name).lower()
        states[row.stream_id][name] += row.recipients
    return states


async def _per_stream(conn: AsyncConnection, tenant_id: TenantId, figure: ColumnElement[int]) -> dict[Id, int]:
    query = (
        select(t.message.c.stream_id, figure.label("figure"))
        .where(t.message.c.tenant_id == tenant_id)
        .group_by(t.message.c.stream_id)
    )
    return {row.stream_id: int(row.figure) for row in await rows(conn, query)}


async def _oldest_waiting(conn: AsyncConnection, tenant_id: TenantId) -> dict[Id, datetime]:
    query = (
        select(
            t.message.c.stream_id, func.min(t.message.c.accepted_at, type_=t.message.c.accepted_at.type).label("oldest")
        )
        .join(t.waiting, t.waiting.c.message_id == t.message.c.id)
        .where(t.message.c.tenant_id == tenant_id)
        .group_by(t.message.c.stream_id)
    )
    return {row.stream_id: row.oldest for row in await rows(conn, query)}


async def _waited(conn: AsyncConnection, tenant_id: TenantId, stream_id: StreamId) -> list[float]:
    """Return how many seconds the last recipients waited for their hand-over, ascending."""
    query = (
        select(t.message.c.accepted_at, t.recipient.c.handed_at)
        .join(t.recipient, t.recipient.c.message_id == t.message.c.id)
        .where(
            t.message.c.tenant_id == tenant_id, t.message.c.stream_id == stream_id, t.recipient.c.handed_at.is_not(None)
        )
        .order_by(t.message.c.id.desc())
        .limit(WAITS_SAMPLE)
    )
    return sorted((row.handed_at - row.accepted_at).total_seconds() for row in await rows(conn, query))
