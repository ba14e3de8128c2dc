"""Owns the schema of what tenants keep for their mail: templates, and tags on their things; leaves the mail to tables.py."""

from __future__ import annotations

from sqlalchemy import Column, Integer, Table, Text

from tenantry.core.ids import TenantId
from tenantry.store.tables import metadata
from tenantry.store.types import IdColumn, Instant

template = Table(
    "template",
    metadata,
    Column("tenant_id", IdColumn(TenantId), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),  # the highest is in use
    Column("subject", Text, nullable=False),
    Column("text", Text),
    Column("html", Text),
    Column("created_at", Instant, nullable=False),  # of the template
    Column("changed_at", Instant, nullable=False),  # of this version
)

resource_tag = Table(
    "resource_tag",
    metadata,
    Column("tenant_id", IdColumn(TenantId), primary_key=True),
    Column("resource", Text, primary_key=True),  # as an ARN ends: identity/acme.example, template/welcome
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
