"""Owns submission, message and refusal; leaves the rules that turn one into another to admission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from tenantry.core.ids import KeyId, MessageId, StreamId, TenantId
from tenantry.core.tenant import StreamClass


class RefusalCode(StrEnum):
    """Every expected "no" that a caller can see; stable, each documented in docs/errors.md."""

    MALFORMED = "malformed"  # not JSON, or not of the documented shape
    INVALID_FIELD = "invalid_field"
    UNAUTHENTICATED = "unauthenticated"
    BAD_SIGNATURE = "bad_signature"
    CLOCK_SKEW = "clock_skew"
    KEY_REVOKED = "key_revoked"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    UNKNOWN_STREAM = "unknown_stream"
    AUTHOR_NOT_YOURS = "author_not_yours"
    IDENTITY_UNVERIFIED = "identity_unverified"
    INVALID_ADDRESS = "invalid_address"
    INVALID_HEADER = "invalid_header"
    NO_RECIPIENTS = "no_recipients"
    TOO_MANY_RECIPIENTS = "too_many_recipients"
    TOO_LARGE = "too_large"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    INVALID_TAG = "invalid_tag"
    UNSUPPORTED = "unsupported"
    BUSY = "busy"  # the store cannot commit now; nothing was accepted
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An expected "no": which rule, at which field, and what to do about it."""

    code: RefusalCode
    message: str
    field: str | None = None


class MessageState(StrEnum):
    """Where a message is."""

    WAITING = "waiting"
    CLAIMED = "claimed"
    HANDED = "handed"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    SUPPRESSED = "suppressed"  # every recipient was
    EXPIRED = "expired"
    CANCELLED = "cancelled"


# One or more of these is made for each message, so they are named tuples: a frozen dataclass takes three times as long.


class Submission(NamedTuple):
    """What a door was handed, decoded and free of injection, not yet admitted.

    authors: every address of From and Sender, and the envelope sender, lower-cased domain; each is bound to an identity.
    content: the SES Content JSON bytes as they will be handed over. remember: the idempotency name (unique per
    tenant) with the digest of the body and the seconds for which an equal call gets the first answer.
    """

    key_id: KeyId
    sender: str  # From as it will be handed to SES
    authors: tuple[str, ...]
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: tuple[str, ...]
    subject: str
    content: bytes
    stream: str | None = None
    tags: Mapping[str, str] = MappingProxyType({})
    idempotency_key: str | None = None
    body_digest: bytes = b""
    remember_seconds: int = 0

    @property
    def recipients(self) -> tuple[str, ...]:
        """Every mailbox as the submission wrote it, in the order to, cc, bcc."""
        return self.to + self.cc + self.bcc


class Addressee(NamedTuple):
    """One recipient of a message as it will be stored: its kind (to, cc, bcc), the mailbox, and the bare address."""

    kind: str
    mailbox: str
    address: str
    suppressed: str | None = None  # the cause, when it must not be mailed


class Message(NamedTuple):
    """What was accepted: one hand-off to SES with 1 to 50 recipients."""

    id: MessageId
    tenant_id: TenantId
    stream_id: StreamId
    stream_class: StreamClass
    submission: Submission
    addressees: tuple[Addressee, ...]
    cost: int  # recipients that will be handed over; SES's rate and quota count these
    accepted_at: datetime
    expires_at: datetime


class Accepted(NamedTuple):
    """The answer after the commit; the same for a repeated call."""

    id: MessageId
    stream: str
    accepted_at: datetime
    suppressed: tuple[str, ...] = ()
    repeated: bool = False
    hold: str | None = None  # why it waits already: paused, unprovisioned
