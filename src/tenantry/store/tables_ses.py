"""Owns the schema of SES as last seen; leaves what it is compared with to tables.py."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from tenantry.core.ids import CellId
from tenantry.store.tables import metadata
from tenantry.store.types import IdColumn, Instant

mirror = Table(
    "mirror",
    metadata,
    Column("cell_id", IdColumn(CellId), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("attributes", Text, nullable=False),
    Column("observed", Text, nullable=False),
    Column("seen_at", Instant, nullable=False),
)
