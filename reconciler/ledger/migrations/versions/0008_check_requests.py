"""Requests for a full check.

Why: whoever asks for one may ask any daemon, and the leader does it. The row says who asked, how far it is, and how it
ended; the open slot makes a thousand requests one check.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "check_requests",
        sa.Column("report_id", sa.Text(), nullable=False),
        sa.Column("open_slot", sa.BigInteger(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("done_count", sa.BigInteger(), nullable=False),
        sa.Column("expected_count", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("report_id", name="pk_check_requests"),
        sa.UniqueConstraint("open_slot", name="uq_check_requests_open_slot"),
        sa.CheckConstraint("open_slot = 1", name=op.f("ck_check_requests_one_slot")),
        sa.CheckConstraint(
            "(open_slot IS NULL) = (finished_at IS NOT NULL)", name=op.f("ck_check_requests_open_until_finished")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_check_requests_requested_at", "check_requests", ["requested_at"])
