"""Owns the JSON shapes of what tenants see, and how each is made of a value; leaves reading values to the routes."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from tenantry.core.event import Fact
from tenantry.core.reading import MessageView, ReputationView, VerdictView
from tenantry.core.reputation import rate_bounds
from tenantry.core.tenant import DnsRecord, Identity, Key, Stream, Tenant

T = TypeVar("T")


class Shape(BaseModel):
    """What every shape shares."""

    model_config = ConfigDict(frozen=True)


class Listing(Shape, Generic[T]):
    """One page of a list."""

    items: list[T]
    next_cursor: str | None = None


class TenantOut(Shape):
    """A customer, brand or business unit."""

    id: str
    name: str
    cell_id: str
    account: str
    labels: dict[str, str]
    created_at: datetime

    @classmethod
    def of(cls, tenant: Tenant) -> TenantOut:
        """Show a tenant."""
        return cls(
            id=tenant.id,
            name=tenant.name,
            cell_id=tenant.cell_id,
            account=tenant.account,
            labels=dict(tenant.labels),
            created_at=tenant.created_at,
        )


class StreamOut(Shape):
    """A tenant's mail of one purpose."""

    id: str
    tenant_id: str
    cell_id: str
    pool_id: str
    name: str
    stream_class: str = Field(serialization_alias="class")
    policy: str
    is_default: bool
    created_at: datetime
    provisioned_at: datetime | None
    limit: float | None
    ramp_stage: int | None
    cohort: int

    @classmethod
    def of(cls, stream: Stream) -> StreamOut:
        """Show a stream."""
        return cls(
            id=stream.id,
            tenant_id=stream.tenant_id,
            cell_id=stream.cell_id,
            pool_id=stream.pool_id,
            name=stream.name,
            stream_class=stream.stream_class,
            policy=stream.policy,
            is_default=stream.is_default,
            created_at=stream.created_at,
            provisioned_at=stream.provisioned_at,
            limit=stream.limit,
            ramp_stage=stream.ramp_stage,
            cohort=stream.cohort,
        )


class RecordOut(Shape):
    """One DNS record to publish, with SES's own word on it."""

    type: str
    name: str
    value: str
    purpose: str
    status: str | None


class IdentityOut(Shape):
    """A domain or address to send from, with the records that its owner publishes."""

    id: str
    tenant_id: str
    cell_id: str
    name: str
    dkim: str
    status: str
    created_at: datetime
    verified_at: datetime | None
    records: list[RecordOut]

    @classmethod
    def of(cls, identity: Identity, records: tuple[DnsRecord, ...]) -> IdentityOut:
        """Show an identity with its records."""
        return cls(
            id=identity.id,
            tenant_id=identity.tenant_id,
            cell_id=identity.cell_id,
            name=identity.name,
            dkim=identity.dkim,
            status=identity.status,
            created_at=identity.created_at,
            verified_at=identity.verified_at,
            records=[
                RecordOut(
                    type=row.type,
                    name=row.name,
                    value=row.value,
                    purpose=row.purpose,
                    status=identity.ses_status.get(row.purpose),
                )
                for row in records
            ],
        )


class MadeTenantOut(Shape):
    """A tenant with all that was made for it."""

    tenant: TenantOut
    streams: list[StreamOut]
    identity: IdentityOut | None


class KeyOut(Shape):
    """A key without its secret."""

    id: str
    tenant_id: str | None
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: Key) -> KeyOut:
        """Show a key."""
        return cls(
            id=key.id,
            tenant_id=key.tenant_id,
            scopes=sorted(key.scopes),
            created_at=key.created_at,
            revoked_at=key.revoked_at,
        )


class MadeKeyOut(KeyOut):
    """A new key with its secret, which is shown this once."""

    secret: str

    @classmethod
    def with_secret(cls, key: Key, secret: str) -> MadeKeyOut:
        """Show a new key."""
        return cls(**KeyOut.of(key).model_dump(), secret=secret)


class RecipientOut(Shape):
    """One recipient of a message."""

    address: str
    kind: str
    standing: str
    facts: list[str]


class TimelineOut(Shape):
    """One thing that happened to a message."""

    at: datetime
    what: str
    recipients: list[str]
    detail: dict[str, str]


class MessageSummaryOut(Shape):
    """A message as lists show it."""

    id: str
    tenant_id: str
    stream_id: str
    stream: str
    state: str
    hold: str | None
    subject: str
    sender: str = Field(serialization_alias="from")
    tags: dict[str, str]
    accepted_at: datetime
    due_at: datetime | None
    ses_id: str | None
    possible_duplicate: bool
    reason: str | None
    recipients: list[RecipientOut]

    @classmethod
    def of(cls, view: MessageView, *, ses_id: bool) -> MessageSummaryOut:
        """Show a message; SES's own id only to operators, whose account it is."""
        return cls(
            id=view.id,
            tenant_id=view.tenant_id,
            stream_id=view.stream_id,
            stream=view.stream,
            state=view.state,
            hold=view.hold,
            subject=view.subject,
            sender=view.sender,
            tags=dict(view.tags),
            accepted_at=view.accepted_at,
            due_at=view.due_at,
            ses_id=view.ses_id if ses_id else None,
            possible_duplicate=view.possible_duplicate,
            reason=view.reason,
            recipients=[
                RecipientOut(
                    address=row.address,
                    kind=row.kind,
                    standing=fact_names(row.standing)[0],
                    facts=fact_names(row.facts),
                )
                for row in view.recipients
            ],
        )


class MessageOut(MessageSummaryOut):
    """A message with all that happened to it, oldest first."""

    timeline: list[TimelineOut]

    @classmethod
    def whole(cls, view: MessageView, *, ses_id: bool) -> MessageOut:
        """Show a message with its timeline."""
        timeline = [
            TimelineOut(at=row.at, what=row.what, recipients=list(row.recipients), detail=dict(row.detail or {}))
            for row in view.timeline
        ]
        return cls(**MessageSummaryOut.of(view, ses_id=ses_id).model_dump(), timeline=timeline)


def fact_names(facts: Fact) -> list[str]:
    """Return the names of a set of facts in small letters; a recipient of whom nothing is known yet is queued."""
    return [str(fact.name).lower() for fact in Fact if fact in facts and fact.name] or ["queued"]


class VerdictOut(Shape):
    """The guard's judgement with its numbers, enough to compute it again."""

    id: str
    stream_id: str
    kind: str
    action: str
    cohort: int
    block_start: int
    block_size: int
    n: int
    x: int
    rate: float
    line: float
    log_e: float
    bar: float
    policy: str
    words: str
    at: datetime
    acted_at: datetime | None
    pause_id: str | None

    @classmethod
    def of(cls, view: VerdictView) -> VerdictOut:
        """Show a verdict."""
        return cls(
            id=view.id,
            stream_id=view.stream_id,
            kind=view.kind,
            action=view.action,
            cohort=view.cohort,
            block_start=view.block_start,
            block_size=view.block_size,
            n=view.n,
            x=view.x,
            rate=_rate(view.n, view.x),
            line=view.line,
            log_e=view.log_e,
            bar=view.bar,
            policy=view.policy,
            words=view.words,
            at=view.at,
            acted_at=view.acted_at,
            pause_id=view.pause_id,
        )


class ReputationOut(Shape):
    """What a stream's mail amounted to since its cohort began; bounds at 99 %."""

    stream_id: str
    stream: str
    cohort: int
    handed: int
    bounced: int
    bounce_rate: float
    bounce_bounds: tuple[float, float]
    reporting: int
    complained: int
    complaint_rate: float
    complaint_bounds: tuple[float, float]
    limit: float | None
    ramp_stage: int | None
    policy: str
    verdicts: list[VerdictOut]

    @classmethod
    def of(cls, stream: Stream, view: ReputationView) -> ReputationOut:
        """Show a stream's reputation."""
        # A complaint may come from a recipient that is not known to report, so x may pass n for an instant.
        reporting = max(view.reporting, view.complained)
        return cls(
            stream_id=view.stream_id,
            stream=stream.name,
            cohort=view.cohort,
            handed=view.handed,
            bounced=view.bounced,
            bounce_rate=_rate(view.handed, view.bounced),
            bounce_bounds=rate_bounds(max(view.handed, view.bounced), view.bounced),
            reporting=view.reporting,
            complained=view.complained,
            complaint_rate=_rate(reporting, view.complained),
            complaint_bounds=rate_bounds(reporting, view.complained),
            limit=view.limit,
            ramp_stage=view.ramp_stage,
            policy=view.policy,
            verdicts=[VerdictOut.of(verdict) for verdict in view.verdicts],
        )


def _rate(n: int, x: int) -> float:
    return round(x / n, 6) if n else 0.0
