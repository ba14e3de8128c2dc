"""Owns what is known after a database went back in time: which marks say so, and the mail that may have gone already.

Leaves reading the marks to the stores, and the decision about held mail to events and people.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tenantry.core.ids import AttemptId, StreamId, TenantId


@dataclass(frozen=True, slots=True)
class Marks:
    """What tells a database from an earlier copy of itself.

    stamped: the identity that the database says it has, "" for a new one. found: the one that it has: on PostgreSQL
    system identifier, timeline, database and table. last_claim: the last claim by the mark beside an SQLite file;
    newest: the last one in it. noticed: the mark that a former look found ahead, so that one restore is noticed once.
    unmarked: whether an SQLite file that was used before has no mark beside it.
    """

    stamped: str = ""
    found: str = ""
    last_claim: AttemptId | None = None
    newest: AttemptId | None = None
    noticed: str = ""
    unmarked: bool = False


@dataclass(frozen=True, slots=True)
class HeldMail:
    """Mail of one stream that a restored database may have sent before."""

    tenant_id: TenantId
    stream_id: StreamId
    messages: int
    recipients: int
    oldest_at: datetime


def went_back(marks: Marks) -> str | None:
    """Say why this database may be an earlier copy, or None when nothing says so."""
    if marks.stamped and marks.stamped != marks.found:
        return f"the database was {marks.stamped} and is {marks.found} now: restored, copied or failed over"
    if marks.unmarked:
        return "the file was used before and has no mark of its claims beside it: it was copied, or somebody says so"
    ahead = marks.last_claim is not None and (marks.newest is None or marks.newest < marks.last_claim)
    if ahead and marks.last_claim != marks.noticed:
        return f"the file does not know claim {marks.last_claim}, which was made on it: it is an older copy"
    return None
