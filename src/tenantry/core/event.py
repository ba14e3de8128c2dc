"""Owns the kinds of facts about a recipient and the events that report them; leaves their meaning to standing.

What is made for each event is a named tuple: it is made in a third of a frozen dataclass's time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import IntFlag
from typing import NamedTuple

from tenantry.core.ids import AttemptId, MessageId


class Fact(IntFlag):
    """What has been seen of one recipient; a bit set, so that order and repetition cannot matter."""

    NONE = 0
    QUEUED = 1
    HANDED = 2
    DELAYED = 4
    BOUNCED_SOFT = 8
    DELIVERED = 16
    BOUNCED = 32
    REJECTED = 64
    COMPLAINED = 128
    OPENED = 256
    CLICKED = 512
    SUPPRESSED = 1024
    EXPIRED = 2048
    CANCELLED = 4096
    REFUSED = 8192
    BOUNCE_COUNTED = 16384  # by a report that SES counts too
    COMPLAINT_COUNTED = 32768


class Report(NamedTuple):
    """One event of SES, already decoded: what it says, about which mail, and the key made from its content."""

    kind: str  # SES's own word: Send, Delivery, Bounce, ...
    fact: Fact
    ses_id: str
    digest: bytes
    at: datetime
    recipients: tuple[str, ...]
    tags: Mapping[str, tuple[str, ...]]
    counts: bool  # whether SES counts it against its sender's rates
    suppresses: bool
    detail: Mapping[str, str]  # bounce type, diagnostic, feedback type, ...: shown in timelines
    raw: str
    message_id: MessageId | None = None  # from our tags
    attempt_id: AttemptId | None = None


class RecipientRow(NamedTuple):
    """One recipient as ingest needs it; ordinal is its place in the stream's sending order, None when it never counts."""

    message_id: MessageId
    number: int
    address: str
    facts: int  # a Fact bit set; plain, since ingest joins many
    cohort: int
    ordinal: int | None
    handed_at: datetime | None = None


class NewFact(NamedTuple):
    """Facts to add to one recipient, with the times of a bounce and a complaint among them."""

    message_id: MessageId
    number: int
    facts: int
    bounced_at: datetime | None = None
    complained_at: datetime | None = None
