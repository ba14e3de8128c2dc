"""Owns the values that people read: a message with its timeline, a stream's reputation, an explanation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tenantry.core.event import Fact
from tenantry.core.ids import MessageId, PauseId, StreamId, TenantId, VerdictId


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened to a message."""

    at: datetime
    what: str
    recipients: tuple[str, ...] = ()
    detail: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class RecipientView:
    """One recipient as people see it."""

    address: str
    kind: str
    standing: Fact
    facts: Fact


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message as people see it, with all that happened to it, oldest first."""

    id: MessageId
    tenant_id: TenantId
    stream_id: StreamId
    stream: str
    state: str
    hold: str | None
    subject: str
    sender: str
    tags: Mapping[str, str]
    accepted_at: datetime
    due_at: datetime | None
    ses_id: str | None
    possible_duplicate: bool
    reason: str | None
    recipients: tuple[RecipientView, ...]
    timeline: tuple[TimelineEntry, ...]


@dataclass(frozen=True, slots=True)
class VerdictView:
    """A stored verdict with its numbers, enough to recompute it."""

    id: VerdictId
    stream_id: StreamId
    kind: str
    action: str
    cohort: int
    block_start: int  # first recipient of the block, in sending order
    block_size: int
    n: int
    x: int
    line: float
    log_e: float
    bar: float
    policy: str
    words: str
    at: datetime
    acted_at: datetime | None
    pause_id: PauseId | None


@dataclass(frozen=True, slots=True)
class ReputationView:
    """What a stream's mail amounted to since its cohort began."""

    stream_id: StreamId
    cohort: int
    handed: int
    bounced: int
    reporting: int
    complained: int
    limit: float | None
    ramp_stage: int | None
    policy: str
    verdicts: tuple[VerdictView, ...]


@dataclass(frozen=True, slots=True)
class CellOutlook:
    """Whether mail flows out of a cell at all: what a tenant may know of the account that it shares."""

    stopped: bool = False  # SES does not let the account send
    unanswered_since: datetime | None = None  # SES has not answered since then, so that one message a second is tried


FLOWING = CellOutlook()


@dataclass(frozen=True, slots=True)
class StreamWaits:
    """A stream's conservation and waiting: recipients by state, and seconds from acceptance to hand-over."""

    stream_id: StreamId
    states: Mapping[str, int]
    accepted: int
    oldest_waiting_at: datetime | None
    wait_p50_seconds: float | None
    wait_p99_seconds: float | None
