"""Owns the schema of what the guard counts and is told beside buckets, verdicts and pauses."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from tenantry.core.ids import StreamId
from tenantry.store.tables import metadata
from tenantry.store.types import IdColumn

mail_day = Table(
    "mail_day",
    metadata,
    Column("stream_id", IdColumn(StreamId), primary_key=True),
    Column("day", Integer, primary_key=True),  # of sending, since 1970-01-01 UTC
    Column("provider", Text, primary_key=True),
    Column("cohort", Integer, primary_key=True),
    Column("handed", BigInteger, nullable=False),
    Column("reporting", BigInteger, nullable=False),
    Column("bounced", BigInteger, nullable=False),
    Column("complained", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
