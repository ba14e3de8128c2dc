"""Owns the claim (one dispatcher's lease on a message) and the names under which SES knows our things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tenantry.core.ids import AttemptId, MessageId, StreamId, TenantId

NAME_PREFIX = "tenantry-"  # what we own in SES carries it; nothing else is touched
MESSAGE_TAG = "tenantry-message"
ATTEMPT_TAG = "tenantry-attempt"


def ses_name(stream_id: StreamId) -> str:
    """Name a stream's SES tenant and configuration set; derived from the id, so a rename changes nothing in SES."""
    return NAME_PREFIX + stream_id.rpartition("_")[2]


@dataclass(frozen=True, slots=True)
class Claim:
    """What the send needs, committed before the first byte leaves: nobody else sends this message meanwhile."""

    attempt_id: AttemptId
    message_id: MessageId
    tenant_id: TenantId
    stream_id: StreamId
    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: tuple[str, ...]
    content: bytes  # the SES Content JSON
    tags: Mapping[str, str]
    claimed_at: datetime
    number: int  # the attempts so far, this one included
