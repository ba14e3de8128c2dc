"""Owns which mail stays though its time is over: what is not settled, and what a verdict that still stands was made of.

A verdict stands while nobody acted on it, while its pause is open, and until it is itself past the retention: so long can
it be recomputed from the recipients of its block. Leaves deleting the rest to retention.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from tenantry.core.ids import MessageId
from tenantry.store.partitions import WEEK, begin_of, first_id
from tenantry.store.seam import Raw, relation
from tenantry.store.store import Step, Store

KEPT_MOST = 1_000  # messages that a dropped week may leave behind: they are moved while its tables are locked
SLICE = timedelta(hours=1)  # a week is looked through hour by hour, so that no look lasts
STANDS = (
    "(v.acted_at IS NULL OR v.at >= :before"
    " OR EXISTS (SELECT 1 FROM pause p WHERE p.id = v.pause_id AND p.ended_at IS NULL))"
)
IN_BLOCK = (
    "v.stream_id = r.stream_id AND v.cohort = r.cohort AND r.ordinal >= v.block_start"
    f" AND r.ordinal < v.block_start + v.block_size AND {STANDS}"
)


async def behind_verdicts(step: Step, messages: Sequence[Raw], before: datetime) -> list[Raw]:
    """Return which of these messages, ascending, have a recipient in the block of a verdict that stands.

    before: verdicts that are older need their mail no more, unless they are open.
    """
    found = await step.run(
        f"SELECT DISTINCT r.message_id FROM {{w}} JOIN recipient r ON r.message_id = w.id JOIN verdict v ON {IN_BLOCK}"
        " WHERE r.message_id >= :low AND r.message_id <= :high",
        relation("w(id uuid)", [(message,) for message in messages]),
        low=messages[0],
        high=messages[-1],
        before=before,
    )
    return [row[0] for row in found]


async def kept_of_week(store: Store, week: date, before: datetime) -> list[str]:
    """Return the messages, in digits, of a week that must stay; where there are more than KEPT_MOST, some more than that."""
    keep: set[str] = set()
    at, end = begin_of(week), begin_of(week) + WEEK
    while at < end and len(keep) <= KEPT_MOST:
        async with store.reading() as step:
            found = await step.run(
                "SELECT id FROM message WHERE id >= :low AND id < :high AND settled_at IS NULL"
                f" UNION SELECT r.message_id FROM recipient r JOIN verdict v ON {IN_BLOCK}"
                " WHERE r.message_id >= :low AND r.message_id < :high LIMIT :most",
                low=MessageId.of(first_id(at)),
                high=MessageId.of(first_id(at + SLICE)),
                before=before,
                most=KEPT_MOST + 1,
            )
        keep |= {str(row[0]) for row in found}
        at += SLICE
    return sorted(keep)
