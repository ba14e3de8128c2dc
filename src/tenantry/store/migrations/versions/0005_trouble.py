"""A worker says which of its loops fail, so that doctor, asked anywhere, can tell. Adds only: older code runs on."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add a column."""
    op.add_column("worker", sa.Column("trouble", sa.Text(), nullable=True))
