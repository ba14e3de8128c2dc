"""Owns what travels through the store's steps and the cloud's ports; leaves behaviour to both."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from tenantry.core.ids import (
    AttemptId,
    KeyId,
    MessageId,
    PauseId,
    StreamId,
    TenantId,
)
from tenantry.core.message import Accepted
from tenantry.core.plan import Change, Resource, ResourceKind
from tenantry.core.tenant import (
    Sender,
    Stream,
    StreamClass,
)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an idempotency name stood for."""

    body_digest: bytes
    answer: Accepted
    expires_at: datetime


class Asked(NamedTuple):
    """What a batch of submissions must know before it is decided."""

    keys: Collection[KeyId]
    addresses: Collection[tuple[TenantId, StreamId, str]]  # lower-case
    streams: Collection[Stream]
    names: Collection[tuple[TenantId, str]]  # for idempotency


class Told(NamedTuple):
    """The answers: senders, causes of suppression, why mail of a stream would wait now, what names stand for.

    What there is nothing to say of is missing: also the sender behind a key that is revoked, unknown or an operator's.
    """

    senders: Mapping[KeyId, Sender]
    suppressed: Mapping[tuple[TenantId, StreamId, str], str]
    holds: Mapping[StreamId, str]  # paused, unprovisioned
    remembered: Mapping[tuple[TenantId, str], Remembered]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose mail an event is about; handed: its hand-over is written down by that event's SES id, and not by another copy's."""

    message_id: MessageId
    attempt_id: AttemptId | None
    tenant_id: TenantId
    stream_id: StreamId
    stream_class: StreamClass
    handed: bool


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that a tenant (or, when stream_id is given, that stream) must not mail."""

    tenant_id: TenantId
    stream_id: StreamId | None
    address: str
    cause: str


@dataclass(frozen=True, slots=True)
class Tally:
    """A bad outcome to count in its bucket of the stream's sending order, and on its day of sending."""

    stream_id: StreamId
    cohort: int
    bucket: int
    day: int  # since 1970-01-01 UTC
    provider: str
    bounced: int = 0
    complained: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settling step wrote down."""

    handed: int = 0
    retried: int = 0
    refused: int = 0
    unknown: int = 0
    throttled: int = 0
    doubts: int = 0  # answers by which the account may be stopped
    opened: int = 0  # breakers that opened with it
    closed: int = 0  # breakers that closed with it

    def __add__(self, other: Settled) -> Settled:
        """Return what both wrote down."""
        return Settled(
            self.handed + other.handed,
            self.retried + other.retried,
            self.refused + other.refused,
            self.unknown + other.unknown,
            self.throttled + other.throttled,
            self.doubts + other.doubts,
            self.opened + other.opened,
            self.closed + other.closed,
        )


@dataclass(frozen=True, slots=True)
class AccountReading:
    """What GetAccount says."""

    rate_per_second: float
    quota_24h: float  # -1: unlimited
    sent_24h: float
    sending_enabled: bool
    enforcement: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message of the event queue: its text and the handle that acknowledges it."""

    body: str
    receipt: str


@dataclass(frozen=True, slots=True)
class Places:
    """How far provision has come in each of its lists; None or empty: at the beginning.

    pause: of pauses on their way to SES. wide: of the streams under a pause of many tenants. tenant: of tenants with
    something left to do. identity: of those that cannot send yet. walk, seen: of all tenants, and of all that SES has.
    """

    pause: PauseId | None = None
    wide: Mapping[PauseId, StreamId] = field(default_factory=dict)
    tenant: TenantId | None = None
    identity: str = ""
    walk: TenantId | None = None
    seen: tuple[ResourceKind, str] | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """A portion of what differs between the store and SES as last seen, the most urgent change first.

    pending: identities, as seen, that cannot send yet. unnoted: tenants of whom something came true that is not written
    down. still: pauses of many tenants for which nothing is left to do. after: the places where each list goes on.
    """

    changes: Sequence[Change]
    pending: Sequence[Resource]
    unnoted: Sequence[TenantId]
    still: Sequence[PauseId]
    after: Places
