"""What full checks keep: partitions done, who was waiting, and how far the chain was verified.

Why: a check of millions that is interrupted has to go on where it was; whoever was due at two checks was not merely on
the way; and walking the whole chain every day would take longer than all the rest.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "check_partitions",
        sa.Column("work_key", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("up_to", sa.Text(), nullable=False),
        sa.Column("tally", sa.Text(), nullable=False),
        sa.Column("breaks", sa.Text(), nullable=False),
        sa.Column("kept_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("work_key", "number", name="pk_check_partitions"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "check_waiting",
        sa.Column("participation_id", sa.Text(), nullable=False),
        sa.Column("read_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("participation_id", name="pk_check_waiting"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "chain_marks",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("payouts", sa.BigInteger(), nullable=False),
        sa.Column("whole_at", TIME, nullable=False),
        sa.CheckConstraint("id = 1", name="single"),
        sa.PrimaryKeyConstraint("id", name="pk_chain_marks"),
        sqlite_with_rowid=False,
    )
