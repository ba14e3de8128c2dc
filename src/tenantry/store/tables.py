"""Owns the schema; leaves its history to migrations and its use to the query modules.

message, recipient, event and content are range-partitioned by message id on PostgreSQL (partitions.py).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from tenantry.core.ids import (
    AttemptId,
    CellId,
    Id,
    IdentityId,
    KeyId,
    MessageId,
    PauseId,
    PoolId,
    StreamId,
    TenantId,
    VerdictId,
)
from tenantry.store.types import Bytes, IdColumn, Instant

ON_ITS_WAY = "ended_at IS NULL AND (fenced_at IS NULL OR end_reason IS NOT NULL)"  # to SES, or out of it

metadata = MetaData()
SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself only in INTEGER keys


class AnyId(Id):
    """The id of whatever a pause stops; its kind stands in the column beside it."""

    __slots__ = ()
    prefix = "any"


def _id(name: str, kind: type[Id], *, nullable: bool = False, primary_key: bool = False) -> Column[Id]:
    return Column(name, IdColumn(kind), nullable=nullable, primary_key=primary_key)


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, postgresql_where=text(where), sqlite_where=text(where))


# ---- who sends

cell = Table(
    "cell",
    metadata,
    _id("id", CellId, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("region", Text, nullable=False),
    Column("rate_per_second", Float, nullable=False),
    Column("quota_24h", Float, nullable=False),
    Column("sent_24h", Float, nullable=False),  # SES's figure at seen_at, plus what we handed over since
    Column("sending_enabled", Boolean, nullable=False),
    Column("enforcement", Text, nullable=False),
    Column("seen_at", Instant),
    Column("tokens", Float, nullable=False),
    Column("tokens_at", Instant, nullable=False),
    Column("backoff", Float, nullable=False),  # AIMD: the fraction of the granted rate in use
    Column("shares", Text, nullable=False),  # JSON: virtual times of the fair queue
    Column("events_at", Instant),
    Column("breaker_failures", Integer, nullable=False, server_default=text("0")),  # unknown outcomes in a row
    Column("breaker_opened_at", Instant),
    Column("breaker_probed_at", Instant),
    Column("recovering_since", Instant),  # a restored database was noticed then, and nobody has ended it yet
)

pool = Table(
    "pool",
    metadata,
    _id("id", PoolId, primary_key=True),
    _id("cell_id", CellId),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    UniqueConstraint("cell_id", "name"),
)

tenant = Table(
    "tenant",
    metadata,
    _id("id", TenantId, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _id("cell_id", CellId),
    Column("account", Text, nullable=False, unique=True),
    Column("labels", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),  # rises with every change that accept or provision must see
    Column("surveyed", BigInteger, nullable=False, server_default=text("0")),  # the one that left nothing to provision
    Column("retention_days", Integer),  # of settled mail; none: the setting's
    Column("created_at", Instant, nullable=False),
    _partial("tenant_unsettled", "cell_id", "id", where="surveyed <> revision"),
)

stream = Table(
    "stream",
    metadata,
    _id("id", StreamId, primary_key=True),
    _id("tenant_id", TenantId),
    _id("cell_id", CellId),
    _id("pool_id", PoolId),
    Column("name", Text, nullable=False),
    Column("stream_class", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("provisioned_at", Instant),
    Column("send_limit", Float),  # fraction of the cell's rate while throttled or on probation
    Column("ramp_stage", Integer),
    Column("stage_at", Instant),
    Column("stage_handed", BigInteger, nullable=False),  # handed when the stage began
    Column("cohort", Integer, nullable=False),
    Column("handed", BigInteger, nullable=False),  # recipients of this cohort so far: the next ordinal
    Column("on_unknown", Text, nullable=False, server_default="resend"),  # or hold
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("tenant_id", "name"),
    _partial("stream_on_ramp", "cell_id", where="ramp_stage IS NOT NULL"),
    _partial("stream_unprovisioned", "id", where="provisioned_at IS NULL"),
)

identity = Table(
    "identity",
    metadata,
    _id("id", IdentityId, primary_key=True),
    _id("tenant_id", TenantId),
    _id("cell_id", CellId),
    Column("name", Text, nullable=False, unique=True),  # nobody else can hold it
    Column("dkim", Text, nullable=False),
    Column("selector", Text, nullable=False),
    Column("public_key", Text, nullable=False),
    Column("private_key", Bytes, nullable=False),  # sealed
    Column("status", Text, nullable=False),
    Column("ses_status", Text, nullable=False),
    Column("tokens", Text, nullable=False),
    Column("verified_at", Instant),
    _id("stream_id", StreamId, nullable=True),  # of its mail that names none; none: the tenant's default
    Column("created_at", Instant, nullable=False),
    Index("identity_tenant", "tenant_id"),
    _partial("identity_unverified", "cell_id", "name", where="status <> 'verified'"),
)

key = Table(
    "key",
    metadata,
    _id("id", KeyId, primary_key=True),
    _id("tenant_id", TenantId, nullable=True),
    Column("secret", Bytes, nullable=False),  # sealed: SigV4 needs it in clear
    Column("scopes", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Index("key_tenant", "tenant_id"),
)

suppression = Table(
    "suppression",
    metadata,
    _id("tenant_id", TenantId, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("scope", Text, primary_key=True),  # '' for the whole tenant, else the stream's hex digits
    Column("cause", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    sqlite_with_rowid=False,
)

# ---- mail

message = Table(
    "message",
    metadata,
    _id("id", MessageId, primary_key=True),
    _id("tenant_id", TenantId),
    _id("stream_id", StreamId),
    Column("state", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("reply_to", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("recipients", Integer, nullable=False),
    Column("accepted_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("settled_at", Instant),
    Column("ses_id", Text),
    Column("reason", Text),
    Column("possible_duplicate", Boolean, nullable=False),
    Index("message_of_tenant", "tenant_id", "id"),
    _partial("message_unknown", "id", where="state = 'unknown'"),
    postgresql_partition_by="RANGE (id)",
    sqlite_with_rowid=False,
)

recipient = Table(
    "recipient",
    metadata,
    _id("message_id", MessageId, primary_key=True),
    Column("number", Integer, primary_key=True),
    _id("tenant_id", TenantId),
    _id("stream_id", StreamId),
    Column("kind", Text, nullable=False),
    Column("mailbox", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("facts", Integer, nullable=False),
    Column("cohort", Integer, nullable=False),
    Column("ordinal", BigInteger),
    Column("handed_at", Instant),
    Column("bounced_at", Instant),
    Column("complained_at", Instant),
    _partial("recipient_complained", "stream_id", "cohort", "ordinal", where="complained_at IS NOT NULL"),
    postgresql_partition_by="RANGE (message_id)",
    sqlite_with_rowid=False,
)

content = Table(
    "content",
    metadata,
    _id("message_id", MessageId, primary_key=True),
    Column("body", Bytes, nullable=False),  # the SES Content JSON that will be handed over
    postgresql_partition_by="RANGE (message_id)",
)

event = Table(
    "event",
    metadata,
    _id("message_id", MessageId, primary_key=True),
    Column("digest", Text, primary_key=True),  # made from the event's content, in hex
    _id("tenant_id", TenantId),
    Column("kind", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("recipients", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("raw", Text, nullable=False),  # '' once it is past its own retention
    _partial("event_raw", "seen_at", where="raw <> ''"),
    postgresql_partition_by="RANGE (message_id)",
    sqlite_with_rowid=False,
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("seen_at", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("raw", Text, nullable=False),
)

remembered = Table(
    "remembered",
    metadata,
    _id("tenant_id", TenantId, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("expires_at", Instant, nullable=False),
    sqlite_with_rowid=False,
)

# ---- the queue

waiting = Table(
    "waiting",
    metadata,
    _id("message_id", MessageId, primary_key=True),
    _id("stream_id", StreamId),
    Column("due_at", Instant, nullable=False),
    Column("cost", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("hold", Text),
    Index("waiting_in_lane", "stream_id", "due_at", "message_id"),
    sqlite_with_rowid=False,
)

lane = Table(
    "lane",
    metadata,
    _id("stream_id", StreamId, primary_key=True),
    _id("cell_id", CellId),
    _id("tenant_id", TenantId),
    _id("pool_id", PoolId),
    Column("stream_class", Text, nullable=False),
    Column("tag", Float, nullable=False),  # the tenant's finish tag in this class; survives idleness
    Column("weight", Float, nullable=False),
    Column("ready", Boolean, nullable=False),
    Column("tokens", Float, nullable=False),  # of its own limit, while it has one
    Column("tokens_at", Instant, nullable=False),
    _partial("lane_ready", "cell_id", "stream_class", "tag", where="ready"),
    Index("lane_of_tenant", "tenant_id", "stream_class", "tag"),
    Index("lane_of_stream", "stream_id"),  # instead of the key, which PostgreSQL's lane has no more: see migration 0008
    sqlite_with_rowid=False,
)

wake = Table(
    "wake",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _id("cell_id", CellId),
    _id("stream_id", StreamId),
)

attempt = Table(
    "attempt",
    metadata,
    _id("id", AttemptId, primary_key=True),
    _id("message_id", MessageId),
    _id("cell_id", CellId),
    _id("stream_id", StreamId),
    _id("tenant_id", TenantId),
    _id("pool_id", PoolId),
    Column("worker_id", BigInteger),
    Column("number", Integer, nullable=False),
    Column("cost", Integer, nullable=False),
    Column("claimed_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("outcome", Text),
    Column("reason", Text),
    Column("ses_id", Text),
    Index("attempt_message", "message_id"),
    _partial("attempt_ses_id", "ses_id", where="ses_id IS NOT NULL"),
    _partial("attempt_open", "cell_id", "claimed_at", where="finished_at IS NULL"),
    sqlite_with_rowid=False,
)

# ---- reputation and stops

bucket = Table(
    "bucket",
    metadata,
    _id("stream_id", StreamId, primary_key=True),
    Column("cohort", Integer, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("handed", Integer, nullable=False),
    Column("reporting", Integer, nullable=False),  # those whose provider reports complaints
    Column("bounced", Integer, nullable=False),
    Column("complained", Integer, nullable=False),
    Column("first_at", Instant, nullable=False),
    sqlite_with_rowid=False,
)

verdict = Table(
    "verdict",
    metadata,
    _id("id", VerdictId, primary_key=True),
    _id("tenant_id", TenantId),
    _id("stream_id", StreamId),
    _id("cell_id", CellId),
    Column("kind", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("cohort", Integer, nullable=False),
    Column("block_start", BigInteger, nullable=False),
    Column("block_size", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("x", BigInteger, nullable=False),
    Column("line", Float, nullable=False),
    Column("log_e", Float, nullable=False),
    Column("bar", Float, nullable=False),
    Column("policy", Text, nullable=False),
    Column("words", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("acted_at", Instant),
    _id("pause_id", PauseId, nullable=True),
    UniqueConstraint("stream_id", "cohort", "kind", "action", "block_start", "block_size"),  # a crossing stands once
    _partial("verdict_due", "cell_id", where="acted_at IS NULL"),
)

pause = Table(
    "pause",
    metadata,
    _id("id", PauseId, primary_key=True),
    Column("scope_kind", Text, nullable=False),
    Column("scope_id", IdColumn(AnyId), nullable=False),
    _id("cell_id", CellId),
    _id("tenant_id", TenantId, nullable=True),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _id("verdict_id", VerdictId, nullable=True),
    Column("opened_at", Instant, nullable=False),
    Column("local_at", Instant),
    Column("fenced_at", Instant),
    Column("ended_at", Instant),
    Column("end_reason", Text),
    CheckConstraint("scope_kind IN ('stream', 'tenant', 'pool', 'cell')"),
    _partial("pause_open", "scope_id", "author", where="ended_at IS NULL", unique=True),
    _partial("pause_on_its_way", "cell_id", "id", where=ON_ITS_WAY),
)
