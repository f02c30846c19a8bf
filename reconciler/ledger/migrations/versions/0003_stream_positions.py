"""The position of the watch in MongoDB's stream of changes.

Why: a restart goes on where it was, and the position's age can be watched. It concerns no money and is no part of the
chain: each opening of the stream is followed by a sweep of everything.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "stream_positions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("reached_at", TIME, nullable=True),
        sa.Column("changed_at", TIME, nullable=False),
        sa.Column("dropped_because", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_stream_positions"),
        sqlite_with_rowid=False,
    )
