"""What roles may have done for them on PostgreSQL, and how retention finds raw events. Adds only: older code runs on."""

from pathlib import Path

from alembic import op
from sqlalchemy import text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add functions and an index; roles and rights are put in after every migration (store/walls.py)."""
    connection = op.get_bind()
    op.create_index(
        "event_raw", "event", ["seen_at"], postgresql_where=text("raw <> ''"), sqlite_where=text("raw <> ''")
    )
    if connection.dialect.name == "postgresql":
        schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
        written = Path(__file__).with_name("0003_postgresql.sql").read_text()
        for statement in written.replace("{schema}", str(schema)).split("\n\n"):
            connection.exec_driver_sql(statement)
