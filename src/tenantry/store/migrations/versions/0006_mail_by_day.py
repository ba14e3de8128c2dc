"""Mail is counted by day of sending and receiving provider. Adds only: older code runs on, and counts no days."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the counts of a day."""
    connection = op.get_bind()
    stream_id = sa.Uuid() if connection.dialect.name == "postgresql" else sa.String(32)
    op.create_table(
        "mail_day",
        sa.Column("stream_id", stream_id, nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("cohort", sa.Integer(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("handed", "reporting", "bounced", "complained")
        ),
        sa.PrimaryKeyConstraint("stream_id", "day", "provider", "cohort"),
        sqlite_with_rowid=False,
    )
