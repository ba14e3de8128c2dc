"""Owns the values that describe who sends: tenant, stream, identity, pool, cell, key; leaves rules to the decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tenantry.core.ids import CellId, IdentityId, KeyId, PoolId, StreamId, TenantId


class StreamClass(StrEnum):
    """What a stream's mail is for; decides weight, expiry and what a complaint suppresses."""

    TRANSACTIONAL = "transactional"
    MARKETING = "marketing"


class Scope(StrEnum):
    """What a key may do."""

    SEND = "send"
    READ = "read"
    MANAGE = "manage"
    OPERATE = "operate"  # the operator's: every tenant


class PoolKind(StrEnum):
    """How SES gives IPs to a pool."""

    SHARED = "shared"
    STANDARD = "standard"
    MANAGED = "managed"


class IdentityStatus(StrEnum):
    """Whether SES lets an identity send."""

    PENDING = "pending"
    VERIFIED = "verified"
    FAILED = "failed"


class DkimMode(StrEnum):
    """Who holds the DKIM key."""

    BYODKIM = "byodkim"
    EASY = "easy"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer, brand or business unit."""

    id: TenantId
    name: str
    cell_id: CellId
    account: str  # the virtual 12-digit account id that its SDKs see
    labels: Mapping[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Stream:
    """A tenant's mail of one purpose: one configuration set, one pool, one reputation."""

    id: StreamId
    tenant_id: TenantId
    cell_id: CellId
    pool_id: PoolId
    name: str
    stream_class: StreamClass
    policy: str
    is_default: bool
    created_at: datetime
    provisioned_at: datetime | None = None
    limit: float | None = None  # fraction of the cell's rate while throttled or on probation
    ramp_stage: int | None = None
    cohort: int = 0


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record that the domain's owner publishes."""

    type: str
    name: str
    value: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A domain or address that a tenant may send from, with its verification."""

    id: IdentityId
    tenant_id: TenantId
    cell_id: CellId
    name: str
    dkim: DkimMode
    status: IdentityStatus
    created_at: datetime
    selector: str = ""
    public_key: str = ""
    ses_status: Mapping[str, str] = field(default_factory=dict)  # SES's own words, by record purpose
    tokens: tuple[str, ...] = ()  # Easy DKIM's, as SES gave them
    verified_at: datetime | None = None
    stream_id: StreamId | None = None  # of its mail that names none; None: the tenant's default


@dataclass(frozen=True, slots=True)
class Pool:
    """A group of dedicated IPs, or the shared one."""

    id: PoolId
    cell_id: CellId
    name: str
    kind: PoolKind


def account_sends(sending_enabled: bool, enforcement: str) -> bool:
    """Whether SES lets an account send, by GetAccount's SendingEnabled and EnforcementStatus: a review stops nothing."""
    return sending_enabled and enforcement != "SHUTDOWN"


@dataclass(frozen=True, slots=True)
class Cell:
    """One SES account in one Region, as GetAccount last showed it."""

    id: CellId
    name: str
    region: str
    rate_per_second: float
    quota_24h: float
    sent_24h: float
    sending_enabled: bool
    enforcement: str
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Key:
    """One pair (id, secret) that opens every door; the secret is shown once and never leaves the store in clear."""

    id: KeyId
    tenant_id: TenantId | None  # None: the operator's
    scopes: frozenset[Scope]
    created_at: datetime
    revoked_at: datetime | None = None  # it may lie ahead: until then another one takes its place

    def is_revoked(self, now: datetime) -> bool:
        """Whether it opens no door any more."""
        return self.revoked_at is not None and self.revoked_at <= now


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant as asked for."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewStream:
    """A stream as asked for; pool is a pool's name, 'shared' the one that always exists."""

    name: str
    stream_class: StreamClass
    pool: str = "shared"
    policy: str = "standard"
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class NewIdentity:
    """An identity as asked for: a domain or an address, lower case, in ASCII form.

    allotted: the operator means it to lie in, or around, a domain that another tenant holds.
    """

    name: str
    dkim: DkimMode = DkimMode.BYODKIM
    allotted: bool = False


@dataclass(frozen=True, slots=True)
class Sender:
    """All that admit needs to know about who submits, as of one read of the store."""

    tenant: Tenant
    streams: Mapping[str, Stream]
    verified: frozenset[str]  # identity names, lower case
    unverified: frozenset[str]
    own_streams: Mapping[str, Stream] = field(default_factory=dict)  # by identity, where one has a stream of its own

    @property
    def default_stream(self) -> Stream | None:
        """The stream that is used when a submission names none."""
        return next((stream for stream in self.streams.values() if stream.is_default), None)
