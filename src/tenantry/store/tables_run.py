"""Owns the schema of who runs on a database: its workers, and the stamp by which a restored copy is noticed."""

from __future__ import annotations

from sqlalchemy import Column, Integer, Table, Text

from tenantry.store.tables import SERIAL, metadata
from tenantry.store.types import Instant

DIED = "died"

worker = Table(
    "worker",
    metadata,
    Column("id", SERIAL, primary_key=True),  # the number of its advisory lock on PostgreSQL, which lives as long as it
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column(
        "trouble", Text
    ),  # which of its loops have been failing for a while, and why; DIED if it never said that it ended
    Column("ended_at", Instant),  # it stopped, or its death was noticed
)

stamp = Table(
    "stamp",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", Instant, nullable=False),
)
