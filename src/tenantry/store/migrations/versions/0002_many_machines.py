"""Several workers on one database: who holds a claim, the breaker, recovery, retention. Adds only: older code runs on."""

import sqlalchemy as sa
from alembic import op

from tenantry.store.types import Instant

revision = "0002"
down_revision = "0001"

ADDED = {
    "attempt": (("worker_id", sa.BigInteger(), None),),
    "cell": (
        ("breaker_failures", sa.Integer(), "0"),
        ("breaker_opened_at", Instant(), None),
        ("breaker_probed_at", Instant(), None),
        ("recovering_since", Instant(), None),
    ),
    "stream": (("on_unknown", sa.Text(), "resend"),),
    "tenant": (("retention_days", sa.Integer(), None),),
}


def upgrade() -> None:
    """Add columns and tables."""
    for table, columns in ADDED.items():
        for name, kind, default in columns:
            op.add_column(table, sa.Column(name, kind, nullable=default is None, server_default=default))
    op.create_table(
        "worker",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant()),
    )
    op.create_table(
        "stamp",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
    )
