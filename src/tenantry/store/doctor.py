"""Owns the figures that doctor shows; leaves what they mean, and when to worry, to the CLI."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, FromClause, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.core.ids import AttemptId
from tenantry.core.message import MessageState
from tenantry.core.tenant import IdentityStatus
from tenantry.store import tables as t
from tenantry.store.opening import first, rows
from tenantry.store.partitions import first_id

STRANDED_AFTER = timedelta(seconds=2)  # invariant 19: the sweep runs each second
FENCED_WITHIN = timedelta(seconds=60)
BLIND_AFTER = timedelta(minutes=5)  # SES reports a hand-over within seconds
LOOKED_BACK = timedelta(days=1)
NEVER = -1


async def counts(conn: AsyncConnection, now: datetime) -> Mapping[str, int]:
    """Return the fleet's figures; seconds_since_last_event is of the most silent cell, -1 where none came yet."""
    figures: dict[str, tuple[FromClause, list[ColumnElement[bool]]]] = {
        "tenants": (t.tenant, []),
        "streams": (t.stream, []),
        "unprovisioned_streams": (t.stream, [t.stream.c.provisioned_at.is_(None)]),
        "pending_identities": (t.identity, [t.identity.c.status == IdentityStatus.PENDING.value]),
        "failed_identities": (t.identity, [t.identity.c.status == IdentityStatus.FAILED.value]),
        "waiting_messages": (t.waiting, []),
        "unknown_messages": (t.message, [t.message.c.state == MessageState.UNKNOWN.value]),
        "open_claims": (t.attempt, [t.attempt.c.finished_at.is_(None)]),
        "stranded_lanes": (t.lane, _stranded(now)),
        "quarantined_events": (t.quarantine, []),
        "open_pauses": (t.pause, [t.pause.c.ended_at.is_(None)]),
        "unfenced_pauses": (t.pause, _unfenced(now)),
        "due_verdicts": (t.verdict, [t.verdict.c.acted_at.is_(None)]),
    }
    columns = [
        select(func.count()).select_from(table).where(*where).scalar_subquery().label(name)
        for name, (table, where) in figures.items()
    ]
    row = await first(conn, select(*columns))
    assert row is not None
    feed = {"seconds_since_last_event": await _silence(conn, now), "blind_cells": await _blind(conn, now)}
    return {name: int(getattr(row, name)) for name in figures} | feed


def _stranded(now: datetime) -> list[ColumnElement[bool]]:
    """Match lanes that nobody will serve though their mail is due: no gate of theirs is closed."""
    lane, waiting, stream, pause = t.lane.c, t.waiting.c, t.stream.c, t.pause.c
    due = select(waiting.message_id).where(waiting.stream_id == lane.stream_id, waiting.due_at <= now - STRANDED_AFTER)
    here = or_(*(pause.scope_id == scope for scope in (lane.stream_id, lane.tenant_id, lane.pool_id, lane.cell_id)))
    gated = select(stream.id).where(
        stream.id == lane.stream_id, or_(stream.provisioned_at.is_(None), stream.send_limit.is_not(None))
    )
    stopped = select(pause.id).where(pause.ended_at.is_(None), here)
    return [~lane.ready, exists(due), ~exists(stopped), ~exists(gated)]


def _unfenced(now: datetime) -> list[ColumnElement[bool]]:
    pause = t.pause.c
    return [
        pause.ended_at.is_(None),
        pause.end_reason.is_(None),
        pause.fenced_at.is_(None),
        pause.opened_at < now - FENCED_WITHIN,
    ]


async def _silence(conn: AsyncConnection, now: datetime) -> int:
    row = await first(conn, select(func.min(t.cell.c.events_at, type_=t.cell.c.events_at.type).label("oldest")))
    return int((now - row.oldest).total_seconds()) if row and row.oldest else NEVER


async def _blind(conn: AsyncConnection, now: datetime) -> int:
    """Count the cells that handed mail over and have heard of no mail since."""
    cell, attempt = t.cell.c, t.attempt.c
    silent = or_(cell.events_at.is_(None), cell.events_at < now - BLIND_AFTER)
    blind = 0
    for row in await rows(conn, select(cell.id, cell.events_at).where(silent)):
        since = max(row.events_at or now - LOOKED_BACK, now - LOOKED_BACK)
        handed = exists().where(
            attempt.id >= AttemptId.of(first_id(since)),  # ids are made in the order of time
            attempt.cell_id == row.id,
            attempt.outcome == "handed",
            attempt.finished_at < now - BLIND_AFTER,
        )
        found = await first(conn, select(handed.label("blind")))
        blind += bool(found and found.blind)
    return blind
