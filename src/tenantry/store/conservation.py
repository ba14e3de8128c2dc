"""Owns the check that no accepted recipient is lost or doubled, in portions: a scrape must not read a day's mail at once.

Each accepted message is in exactly one place: settled (a state but waiting), or waiting in its lane, or under one open
claim; and it has as many recipients as accept counted. One aggregate statement adds up, by tenant, the recipients of a
portion of messages (by id, which is by time, newest first) that break this; one snapshot sees each change whole, so that
mail on its way raises no alarm. Whoever watches walks over the last day portion by portion and begins anew: with little
mail that is one portion, with a hundred messages a second it takes an hour or two, at the same small cost a look.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, cast, exists, func, or_, select

from tenantry.core.figures import Balance
from tenantry.core.ids import MessageId
from tenantry.core.message import MessageState
from tenantry.store import tables as t
from tenantry.store.opening import Opened, first, rows
from tenantry.store.partitions import first_id
from tenantry.store.types import made_at

PORTION = 10_000  # messages: about 0.2 s
LOOKED_BACK = timedelta(days=1)


async def balance(step: Opened, before: MessageId | None, most: int = PORTION) -> Balance:
    """Check the newest messages of the last day that are older than `before` (None: of all), so many at most."""
    message = t.message.c
    within = [message.id >= MessageId.of(first_id(step.now - LOOKED_BACK))]
    if before is not None:
        within.append(message.id < before)
    portion = select(message.id).where(*within).order_by(message.id.desc()).limit(most).subquery()
    id_text = cast(portion.c.id, Text).collate("C") if step.dialect == "postgresql" else portion.c.id
    row = await first(
        step.conn, select(func.count().label("messages"), func.min(id_text, type_=Text()).label("last"))
        .select_from(portion)
    )  # fmt: skip
    if row is None or row.last is None:
        return Balance(0, {}, None)
    last = MessageId.of(UUID(row.last))
    within[0] = message.id >= last
    broken = select(message.tenant_id, func.sum(message.recipients).label("recipients")).where(*within, _broken())
    found = await rows(step.conn, broken.group_by(message.tenant_id))
    return Balance(
        messages=row.messages,
        differences={each.tenant_id: int(each.recipients) for each in found},
        before=last if row.messages == most else None,
        since=made_at(row.last),
    )


_WAITS = exists().where(t.waiting.c.message_id == t.message.c.id)
_CLAIMED = exists().where(t.attempt.c.message_id == t.message.c.id, t.attempt.c.finished_at.is_(None))
_RECIPIENTS = (
    select(func.count())
    .select_from(t.recipient)
    .where(t.recipient.c.message_id == t.message.c.id)
    .correlate(t.message)
    .scalar_subquery()
)


def _broken() -> ColumnElement[bool]:
    unsettled = t.message.c.state == MessageState.WAITING.value
    nowhere_or_twice = or_(and_(_WAITS, _CLAIMED), and_(~_WAITS, ~_CLAIMED))
    return or_(and_(unsettled, nowhere_or_twice), and_(~unsettled, _WAITS), t.message.c.recipients != _RECIPIENTS)
