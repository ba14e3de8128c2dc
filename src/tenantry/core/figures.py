"""Owns the figures of the whole fleet that machines and people watch; leaves what they mean to finding.

No figure is of one tenant: what is watched has as many series with a thousand tenants as with ten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tenantry.core.ids import MessageId, TenantId
from tenantry.core.pause import Author, PauseState
from tenantry.core.tenant import StreamClass


@dataclass(frozen=True, slots=True)
class WaitingFigures:
    """Mail of one cell and class that waits: free to go, or held by an open pause or by what SES does not have yet."""

    cell: str
    stream_class: StreamClass
    held: bool
    messages: int
    oldest_at: datetime  # when the oldest of them was accepted


@dataclass(frozen=True, slots=True)
class CellFigures:
    """One cell: what SES grants it, what it uses, and what it hears."""

    name: str
    rate_per_second: float  # granted, in recipients
    backoff: float  # the fraction of it in use since SES throttled
    quota_24h: float  # -1: unlimited
    sent_24h: float
    sending_enabled: bool
    enforcement: str
    seen_at: datetime | None  # when the account was last read
    events_at: datetime | None  # when an event was last ingested
    feed_lag_seconds: (
        float | None
    )  # the longest that a recent event took from SES to its commit; None: none came lately
    blind: bool  # mail was handed over minutes ago and nothing was heard since
    breaker_opened_at: datetime | None
    recovering_since: datetime | None
    open_claims: int
    oldest_claim_at: datetime | None
    stranded_lanes: int
    due_verdicts: int


@dataclass(frozen=True, slots=True)
class PauseFigures:
    """Open pauses of one author in one state; those that are being ended are left out."""

    author: Author
    state: PauseState
    pauses: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class DatabaseFigures:
    """The database itself; what only one kind of database has is None on the other."""

    kind: str  # sqlite or postgresql
    version: str
    size_bytes: int
    revision: str  # of the schema; empty where there is none
    head: str  # the revision that this program is written for
    behind: bool  # whether it lacks what this program needs; a newer one does not
    free_bytes: int | None = None  # SQLite: on the disk that the file lies on
    disk_bytes: int | None = None
    connections: int | None = None  # PostgreSQL: of the whole server
    connections_max: int | None = None
    oldest_transaction_seconds: float | None = None  # PostgreSQL: of the clients of this database
    oldest_transaction_pid: int | None = None
    partitions_until: datetime | None = None  # PostgreSQL: the end of the last one made
    refuses: str = ""  # what it said when it could not write for this process, seconds ago, for want of disk or memory


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """A worker that did not say that it ended."""

    name: str
    host: str
    pid: int
    seen_at: datetime
    trouble: str | None = None  # which of its loops have been failing, as it last said


@dataclass(frozen=True, slots=True)
class BuriedWorker:
    """A worker that died without saying that it ended; `at` is when another one noticed and took what it held."""

    name: str
    host: str
    pid: int
    seen_at: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Figures:
    """The fleet at one moment of the database's time."""

    at: datetime
    waiting: tuple[WaitingFigures, ...]
    cells: tuple[CellFigures, ...]
    pauses: tuple[PauseFigures, ...]
    workers: tuple[WorkerFigures, ...]
    buried: tuple[BuriedWorker, ...]  # within the last hour
    database: DatabaseFigures
    unknown_messages: int
    overdue_unknowns: int  # unknown for longer than the silence after which one may be settled
    oldest_unknown_at: datetime | None
    unprovisioned_streams: int
    pending_identities: int
    failed_identities: int
    quarantined_events: int


@dataclass(frozen=True, slots=True)
class Balance:
    """What a look at a run of messages, newest first, found: accepted recipients that are not in exactly one place.

    differences: by tenant, the recipients lost or doubled. before: where the next look goes on, None at the end.
    since: when the oldest message of the run was accepted, None where there was none.
    """

    messages: int
    differences: Mapping[TenantId, int]
    before: MessageId | None
    since: datetime | None = None
