"""Fees, releases, reversals, settlements, decisions, adoptions, closures, leases.

Why: payouts can now carry a fee, lie held for some days, be shares of a frozen pool, be decided by people and be taken
back; daemons elect one of them. Rows posted before get the values that describe what they were: no fee, released at
once, of no settlement. The chain covers the new columns from its second format on; older batches keep theirs.
"""

import sqlalchemy as sa
from alembic import op

from reconciler.ledger.append_only import protect

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)

UNIQUE_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "settlements": (("settlement_key",), ("campaign_id", "n")),
    "settlement_lines": (("settlement_key", "participation_id"), ("participation_id",)),
    "decisions": (("decision_key",),),
    "adoptions": (("participation_id",),),
}


def upgrade() -> None:
    # A constant default fills the old rows without an UPDATE, which the journal's triggers would refuse. It stays,
    # since SQLite cannot drop it; every insert names the column.
    op.add_column("payouts", sa.Column("fee_bps", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("payouts", sa.Column("release_at", TIME, nullable=True))
    op.add_column("payouts", sa.Column("settlement_key", sa.Text(), nullable=True))
    op.add_column("payouts", sa.Column("reverses", sa.Text(), nullable=True))
    op.add_column("payouts", sa.Column("decision_key", sa.Text(), nullable=True))
    op.create_index("ix_payouts_reverses", "payouts", ["reverses"])
    op.create_index("ix_payouts_release_at", "payouts", ["release_at"])
    op.create_index("ix_entries_corrects", "entries", ["corrects"])
    op.create_table(
        "adoptions",
        sa.Column("participation_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("streamer_id", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("decision_key", sa.Text(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("participation_id", name="pk_adoptions"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_adoptions_batch", "adoptions", ["batch"])
    op.create_index("ix_adoptions_campaign_id", "adoptions", ["campaign_id"])
    op.create_table(
        "closures",
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", name="pk_closures"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "decisions",
        sa.Column("decision_key", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state_before", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("decision_key", name="pk_decisions"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_decisions_batch", "decisions", ["batch"])
    op.create_index("ix_decisions_kind_occurred_at", "decisions", ["kind", "occurred_at"])
    op.create_index("ix_decisions_subject", "decisions", ["subject"])
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "settlements",
        sa.Column("settlement_key", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("payment_type", sa.Text(), nullable=False),
        sa.Column("rate", sa.Text(), nullable=False),
        sa.Column("overdelivery", sa.Text(), nullable=False),
        sa.Column("target", sa.BigInteger(), nullable=False),
        sa.Column("impressions", sa.BigInteger(), nullable=False),
        sa.Column("pool_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("facts_at", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("settlement_key", name="pk_settlements"),
        sa.UniqueConstraint("campaign_id", "n", name="uq_settlements_campaign_id_n"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_settlements_batch", "settlements", ["batch"])
    op.create_table(
        "settlement_lines",
        sa.Column("settlement_key", sa.Text(), nullable=False),
        sa.Column("participation_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("streamer_id", sa.Text(), nullable=False),
        sa.Column("impressions", sa.BigInteger(), nullable=False),
        sa.Column("share_minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["settlement_key"], ["settlements.settlement_key"], name="fk_settlement_lines_settlement_key_settlements"
        ),
        sa.PrimaryKeyConstraint("settlement_key", "participation_id", name="pk_settlement_lines"),
        sa.UniqueConstraint("participation_id", name="uq_settlement_lines_participation_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_settlement_lines_batch", "settlement_lines", ["batch"])
    dialect = op.get_bind().dialect.name
    for table, unique_keys in UNIQUE_KEYS.items():
        for statement in protect(dialect, table, unique_keys):
            op.execute(statement)
