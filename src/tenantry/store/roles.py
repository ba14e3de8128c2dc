"""Owns who may do what inside PostgreSQL: group roles, their rights on each table, and the row-level walls, as data.

Leaves putting them into a database to walls.py; SQLite has neither roles nor other processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tenantry.core.ids import TenantId
from tenantry.store import tables as t
from tenantry.store.partitions import TABLES as PARTITIONED


class Role(StrEnum):
    """A group role that nobody logs in with: every transaction takes one, for as long as it lasts."""

    ACCEPT = "tenantry_accept"  # the doors before a tenant is known, and the commit of what is accepted
    TENANT = "tenantry_tenant"  # what one tenant reads and manages: its own rows, whatever the statement says
    OPERATOR = "tenantry_operator"  # the fleet: pauses, pools, tenants, figures; no secrets
    WORKER = "tenantry_worker"  # dispatch, ingest, guard, provision, sweep, retention; no key


GATEWAY_ROLES = (Role.ACCEPT, Role.TENANT, Role.OPERATOR)
WORKER_ROLES = (Role.WORKER, Role.OPERATOR)  # the operator's for the figures that it shows of the fleet


@dataclass(frozen=True, slots=True)
class Acting:
    """As whom a transaction runs, and for which tenant where it is one's own."""

    role: Role = Role.WORKER
    tenant_id: TenantId | None = None


A, T, F, W = Role.ACCEPT, Role.TENANT, Role.OPERATOR, Role.WORKER  # F: the fleet's
READ = "SELECT"
WRITE = "SELECT, INSERT, UPDATE, DELETE"
NAMED_KEY = "id, tenant_id, scopes, created_at, revoked_at"  # all but the secret
IDENTITY = ", ".join(column.name for column in t.identity.c if column.name != "private_key")

RIGHTS: Mapping[str, Mapping[Role, str]] = {
    # who sends
    "cell": {
        T: "SELECT (id, sending_enabled, enforcement, breaker_opened_at)",
        F: "SELECT, UPDATE (recovering_since)",  # which also allows to lock the row
        W: "SELECT, INSERT, UPDATE",
    },
    "pool": {T: READ, F: "SELECT, INSERT", W: "SELECT, INSERT"},
    "tenant": {A: READ, T: "SELECT, UPDATE (revision)", F: "SELECT, INSERT", W: "SELECT, UPDATE (revision, surveyed)"},
    "stream": {
        A: READ,
        T: "SELECT, INSERT, UPDATE (is_default)",
        F: "SELECT, UPDATE (cohort, handed, send_limit, ramp_stage, stage_at, stage_handed)",
        W: "SELECT, UPDATE",
    },
    "identity": {
        A: f"SELECT ({IDENTITY})",
        T: f"SELECT ({IDENTITY}), INSERT, UPDATE (stream_id)",
        F: f"SELECT ({IDENTITY})",
        W: "SELECT, UPDATE (status, ses_status, tokens, verified_at)",
    },
    "key": {
        A: READ,  # a signature is checked against the secret
        T: f"SELECT ({NAMED_KEY}), INSERT, UPDATE (revoked_at)",
        F: f"SELECT ({NAMED_KEY}), INSERT, UPDATE (revoked_at)",
    },
    "suppression": {A: READ, T: "SELECT, INSERT, UPDATE (cause, created_at), DELETE", W: "SELECT, INSERT"},
    "template": {T: "SELECT, INSERT, DELETE"},
    "resource_tag": {T: "SELECT, INSERT, DELETE"},
    # mail
    "message": {  # the operator decides about what recovery holds
        A: "INSERT",
        T: READ,
        F: "SELECT, UPDATE (state, reason, settled_at, possible_duplicate)",
        W: "SELECT, UPDATE, DELETE",
    },
    "recipient": {A: "INSERT", T: READ, F: "SELECT (message_id, facts), UPDATE (facts)", W: "SELECT, UPDATE, DELETE"},
    "content": {A: "INSERT", W: "SELECT, DELETE"},
    "event": {T: READ, F: "SELECT (message_id, tenant_id, at, seen_at)", W: WRITE},
    "quarantine": {F: READ, W: "SELECT, INSERT, DELETE"},
    "remembered": {A: "SELECT, INSERT, DELETE", W: "SELECT, DELETE"},
    # the queue
    "waiting": {A: "INSERT", T: READ, F: "SELECT, INSERT, UPDATE (due_at, hold), DELETE", W: WRITE},
    "lane": {
        A: "SELECT (cell_id, stream_id, ready)",
        T: "SELECT (tenant_id, stream_class, tag), INSERT",
        F: "SELECT, UPDATE (tokens_at)",
        W: "SELECT, UPDATE",
    },
    "wake": {A: "INSERT, SELECT (cell_id)", F: "INSERT, SELECT (cell_id)", W: "SELECT, INSERT, DELETE"},
    "attempt": {T: READ, F: READ, W: WRITE},
    # reputation and stops
    "bucket": {T: READ, W: WRITE},
    "mail_day": {T: READ, F: READ, W: WRITE},
    "verdict": {T: READ, F: READ, W: WRITE},
    "pause": {A: "SELECT (scope_id, ended_at)", T: READ, F: "SELECT, INSERT, UPDATE", W: WRITE},
    # SES as last seen, and the processes
    "mirror": {F: READ, W: WRITE},
    "worker": {F: READ, W: WRITE},
    "stamp": {F: READ, W: WRITE},
    "alembic_version": {A: READ, T: READ, F: READ, W: READ},
}
SEQUENCES: Mapping[str, Mapping[Role, str]] = {
    "wake_id_seq": {A: "USAGE", F: "USAGE", W: "USAGE"},
    "quarantine_id_seq": {W: "USAGE"},
    "worker_id_seq": {W: "USAGE"},
}
FUNCTIONS: Mapping[str, Mapping[Role, str]] = {
    "tenantry_name_is_near": {T: "EXECUTE"},
    "tenantry_make_partition": {W: "EXECUTE"},
    "tenantry_drop_partition": {W: "EXECUTE"},
}

OURS = "NULLIF(current_setting('tenantry.tenant', true), '')::uuid"  # no tenant set: nobody's rows
OF_OUR_STREAMS = f"stream_id IN (SELECT s.id FROM stream s WHERE s.tenant_id = {OURS})"


def walled() -> dict[str, str | None]:
    """Return the tables under row-level security, with what the tenant role sees of them (None: nothing)."""
    own: dict[str, str | None] = {
        table.name: f"tenant_id = {OURS}" for table in t.metadata.sorted_tables if "tenant_id" in table.c
    }
    return own | {
        "tenant": f"id = {OURS}",
        "waiting": OF_OUR_STREAMS,
        "bucket": OF_OUR_STREAMS,
        "mail_day": OF_OUR_STREAMS,
        "content": None,
        "wake": None,
    }


__all__ = [
    "FUNCTIONS",
    "GATEWAY_ROLES",
    "PARTITIONED",
    "RIGHTS",
    "SEQUENCES",
    "WORKER_ROLES",
    "Acting",
    "Role",
    "walled",
]
