"""What is left to do, found without reading every tenant and stream. Adds only: older code runs on."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

INDEXES = (
    ("stream_on_ramp", "stream", ["cell_id"], "ramp_stage IS NOT NULL"),
    ("stream_unprovisioned", "stream", ["id"], "provisioned_at IS NULL"),
    ("tenant_unsettled", "tenant", ["cell_id", "id"], "surveyed <> revision"),
    ("identity_unverified", "identity", ["cell_id", "name"], "status <> 'verified'"),
    (
        "pause_on_its_way",
        "pause",
        ["cell_id", "id"],
        "ended_at IS NULL AND (fenced_at IS NULL OR end_reason IS NOT NULL)",
    ),
)


def upgrade() -> None:
    """Add a column, with which everybody is compared once more, and indexes."""
    op.add_column("tenant", sa.Column("surveyed", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    for name, table, columns, where in INDEXES:
        op.create_index(name, table, columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))
