"""The first schema, as version 0.1 had it; later versions add to it and never edit this file nor the SQL beside it."""

from pathlib import Path

from alembic import op

from tenantry.store.partitions import create_default_partitions

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table, and on PostgreSQL the default partitions."""
    connection = op.get_bind()
    written = Path(__file__).with_name(f"0001_{connection.dialect.name}.sql").read_text()
    for statement in written.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement)
    if connection.dialect.name == "postgresql":
        create_default_partitions(connection)
