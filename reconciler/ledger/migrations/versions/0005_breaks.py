"""What is remembered of breaks, and a sign of life of runs.

Why: a report file may be deleted, and since when a break is there must not go with it; people acknowledge breaks, and
what they saw has to be kept somewhere. A run whose process died could not be told from one that still runs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "breaks",
        sa.Column("break_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("participation_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("streamer_id", sa.Text(), nullable=False),
        sa.Column("payout_key", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("expected_minor", sa.BigInteger(), nullable=True),
        sa.Column("actual_minor", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("found_count", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("known_since", TIME, nullable=False),
        sa.Column("first_seen", TIME, nullable=False),
        sa.Column("last_seen", TIME, nullable=False),
        sa.Column("last_report", sa.Text(), nullable=False),
        sa.Column("last_whole_report", sa.Text(), nullable=True),
        sa.Column("appearances_count", sa.BigInteger(), nullable=False),
        sa.Column("cleared_at", TIME, nullable=True),
        sa.Column("cleared_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("break_id", name="pk_breaks"),
        sa.CheckConstraint("(cleared_at IS NULL) = (cleared_by IS NULL)", name=op.f("ck_breaks_cleared_by_someone")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_breaks_cleared_by", "breaks", ["cleared_by"])
    op.create_index("ix_breaks_campaign_id", "breaks", ["campaign_id"])
    op.add_column("runs", sa.Column("alive_at", TIME, nullable=True))
    unfinished = sa.text("finished_at IS NULL")
    op.create_index("ix_runs_unfinished", "runs", ["started_at"], sqlite_where=unfinished, postgresql_where=unfinished)
