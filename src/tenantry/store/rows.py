"""Owns how rows become values: one reader a table; leaves choosing the rows to the query modules."""

from __future__ import annotations

import json

from tenantry.core.pause import SCOPES, Author, Pause, ScopeId
from tenantry.core.reading import VerdictView
from tenantry.core.tenant import (
    Cell,
    DkimMode,
    Identity,
    IdentityStatus,
    Key,
    Pool,
    PoolKind,
    Scope,
    Stream,
    StreamClass,
    Tenant,
)
from tenantry.store import tables
from tenantry.store.seam import DbRow

OPEN_COLUMNS = {
    "key": [column for column in tables.key.c if column.name != "secret"],
    "identity": [column for column in tables.identity.c if column.name != "private_key"],
}
"""What is read of a table that keeps secrets, by all who need none: their roles may read no more (roles.py)."""


def read_tenant(row: DbRow) -> Tenant:
    """Read a row of tenant."""
    return Tenant(row.id, row.name, row.cell_id, row.account, json.loads(row.labels), row.created_at)


def read_stream(row: DbRow) -> Stream:
    """Read a row of stream."""
    return Stream(
        id=row.id,
        tenant_id=row.tenant_id,
        cell_id=row.cell_id,
        pool_id=row.pool_id,
        name=row.name,
        stream_class=StreamClass(row.stream_class),
        policy=row.policy,
        is_default=row.is_default,
        created_at=row.created_at,
        provisioned_at=row.provisioned_at,
        limit=row.send_limit,
        ramp_stage=row.ramp_stage,
        cohort=row.cohort,
    )


def read_identity(row: DbRow) -> Identity:
    """Read a row of identity, without its private key."""
    return Identity(
        id=row.id,
        tenant_id=row.tenant_id,
        cell_id=row.cell_id,
        name=row.name,
        dkim=DkimMode(row.dkim),
        status=IdentityStatus(row.status),
        created_at=row.created_at,
        selector=row.selector,
        public_key=row.public_key,
        ses_status=json.loads(row.ses_status),
        tokens=tuple(json.loads(row.tokens)),
        verified_at=row.verified_at,
        stream_id=row.stream_id,
    )


def read_key(row: DbRow) -> Key:
    """Read a row of key, without its secret."""
    scopes = frozenset(Scope(scope) for scope in row.scopes.split())
    return Key(row.id, row.tenant_id, scopes, row.created_at, row.revoked_at)


def read_pool(row: DbRow) -> Pool:
    """Read a row of pool."""
    return Pool(row.id, row.cell_id, row.name, PoolKind(row.kind))


def read_cell(row: DbRow) -> Cell:
    """Read a row of cell."""
    return Cell(
        id=row.id,
        name=row.name,
        region=row.region,
        rate_per_second=row.rate_per_second,
        quota_24h=row.quota_24h,
        sent_24h=row.sent_24h,
        sending_enabled=row.sending_enabled,
        enforcement=row.enforcement,
        seen_at=row.seen_at,
    )


def read_pause(row: DbRow) -> Pause:
    """Read a row of pause."""
    return Pause(
        id=row.id,
        scope_kind=row.scope_kind,
        scope_id=_scope(row.scope_kind, row.scope_id),
        author=Author(row.author),
        reason=row.reason,
        opened_at=row.opened_at,
        verdict_id=row.verdict_id,
        local_at=row.local_at,
        fenced_at=row.fenced_at,
        ended_at=row.ended_at,
        end_reason=row.end_reason,
    )


def _scope(kind: str, text: str) -> ScopeId:
    cls = SCOPES[kind]
    return str.__new__(cls, f"{cls.prefix}_{text.rpartition('_')[2]}")


def read_verdict(row: DbRow) -> VerdictView:
    """Read a row of verdict."""
    return VerdictView(
        id=row.id,
        stream_id=row.stream_id,
        kind=row.kind,
        action=row.action,
        cohort=row.cohort,
        block_start=row.block_start,
        block_size=row.block_size,
        n=row.n,
        x=row.x,
        line=row.line,
        log_e=row.log_e,
        bar=row.bar,
        policy=row.policy,
        words=row.words,
        at=row.at,
        acted_at=row.acted_at,
        pause_id=row.pause_id,
    )
