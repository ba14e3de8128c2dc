"""A turn finds a tenant's lanes by their tag, past the rows that earlier turns left. Adds only: older code runs on.

On PostgreSQL the key of a lane is an index like others: each change of a row looks at all rows that have its unique key,
and under a long reader those are all of before. A lane is made together with its stream, whose key is the same.
"""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Give an index two more columns; who looked by the first one finds it in the new."""
    op.create_index("lane_of_tenant", "lane", ["tenant_id", "stream_class", "tag"])
    op.drop_index("lane_tenant", "lane")
    op.create_index("lane_of_stream", "lane", ["stream_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("lane_pkey", "lane")
