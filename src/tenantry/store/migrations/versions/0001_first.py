"""The first schema, as tables.py has it at version 0.1; later versions add to it and never edit this file."""

from alembic import op

from tenantry.store.partitions import create_default_partitions
from tenantry.store.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table, and on PostgreSQL the default partitions."""
    connection = op.get_bind()
    metadata.create_all(connection)
    if connection.dialect.name == "postgresql":
        create_default_partitions(connection)


def downgrade() -> None:
    """Drop every table."""
    metadata.drop_all(op.get_bind())
