"""Templates with versions, tags on a tenant's things, and a stream of an identity's own. Adds only: older code runs on."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add two tables and a column."""
    postgres = op.get_bind().dialect.name == "postgresql"
    uuid = sa.Uuid() if postgres else sa.String(32)
    instant = sa.DateTime(timezone=True) if postgres else sa.BigInteger()
    op.create_table(
        "template",
        sa.Column("tenant_id", uuid, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("html", sa.Text(), nullable=True),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("changed_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", "version"),
    )
    op.create_table(
        "resource_tag",
        sa.Column("tenant_id", uuid, nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "resource", "key"),
    )
    op.add_column("identity", sa.Column("stream_id", uuid, nullable=True))
