"""The ledger: accounts, entries, postings, payouts, fundings, holds, hash chain, outbox, runs.

Why: the first release. Journal tables refuse UPDATE, DELETE and (PostgreSQL) TRUNCATE or (SQLite) INSERT OR REPLACE
from the first row on; the identity drawn here is what tells this ledger from another one.
"""

import hashlib
import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from reconciler.ledger.append_only import protect

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)

UNIQUE_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "entries": (("sequence",), ("key",)),
    "postings": (("sequence", "leg"), ("account", "currency", "account_version")),
    "payouts": (("payout_key",), ("sequence",), ("kind", "campaign_id", "streamer_id", "n")),
    "fundings": (("campaign_id", "n"), ("sequence",)),
    "hold_events": (("hold_key", "event"),),
    "chain": (("batch",),),
    "ledger_identity": (("id",),),
}


def upgrade() -> None:
    _create_tables()
    dialect = op.get_bind().dialect.name
    for table, unique_keys in UNIQUE_KEYS.items():
        for statement in protect(dialect, table, unique_keys):
            op.execute(statement)
    _found_ledger()


def _found_ledger() -> None:
    """The ledger's identity, and the beginning of its chain, which depends on it."""
    ledger_id = str(uuid.uuid4())
    created_at = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    identity = sa.table("ledger_identity", sa.column("id"), sa.column("ledger_id"), sa.column("created_at", TIME))
    op.execute(identity.insert().values(id=1, ledger_id=ledger_id, created_at=created_at))
    head = sa.table("chain_head", sa.column("id"), sa.column("batch"), sa.column("sequence"), sa.column("hash"))
    genesis = hashlib.sha256(ledger_id.encode()).hexdigest()
    op.execute(head.insert().values(id=1, batch=0, sequence=0, hash=genesis))


def _create_tables() -> None:
    op.create_table(
        "accounts",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("balance_minor", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind <> 'escrow' OR balance_minor >= 0", name=op.f("ck_accounts_escrow_not_negative")),
        sa.PrimaryKeyConstraint("account", "currency", name=op.f("pk_accounts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "chain",
        sa.Column("batch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("format", sa.BigInteger(), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("batch", name=op.f("pk_chain")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "chain_head",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_chain_head_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chain_head")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "entries",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("participation_id", sa.Text(), nullable=True),
        sa.Column("streamer_id", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("corrects", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("booked_at", TIME, nullable=False),
        sa.Column("effective_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_entries")),
        sa.UniqueConstraint("key", name=op.f("uq_entries_key")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_entries_batch", "entries", ["batch"])
    op.create_index("ix_entries_campaign_id", "entries", ["campaign_id"])
    op.create_table(
        "hold_events",
        sa.Column("hold_key", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("participation_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("streamer_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.CheckConstraint("event IN ('opened', 'closed')", name=op.f("ck_hold_events_event")),
        sa.PrimaryKeyConstraint("hold_key", "event", name=op.f("pk_hold_events")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_hold_events_batch", "hold_events", ["batch"])
    op.create_index("ix_hold_events_campaign_id", "hold_events", ["campaign_id"])
    op.create_index("ix_hold_events_participation_id", "hold_events", ["participation_id"])
    op.create_table(
        "ledger_identity",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ledger_id", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_ledger_identity_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_identity")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("counts", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_runs_kind_started_at", "runs", ["kind", "started_at"])
    op.create_table(
        "wallet_positions",
        sa.Column("streamer_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("projected_version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("projected_version <= version", name=op.f("ck_wallet_positions_projected_not_ahead")),
        sa.PrimaryKeyConstraint("streamer_id", "currency", name=op.f("pk_wallet_positions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "fundings",
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("budget_minor", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("facts_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["sequence"], ["entries.sequence"], name=op.f("fk_fundings_sequence_entries")),
        sa.PrimaryKeyConstraint("campaign_id", "n", name=op.f("pk_fundings")),
        sa.UniqueConstraint("sequence", name=op.f("uq_fundings_sequence")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_fundings_batch", "fundings", ["batch"])
    op.create_table(
        "outbox",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("effect", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("not_before", TIME, nullable=False),
        sa.Column("done_at", TIME, nullable=True),
        sa.CheckConstraint("status IN ('pending', 'blocked', 'done')", name=op.f("ck_outbox_status")),
        sa.ForeignKeyConstraint(["sequence"], ["entries.sequence"], name=op.f("fk_outbox_sequence_entries")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_outbox")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_outbox_open",
        "outbox",
        ["not_before", "sequence"],
        sqlite_where=sa.text("status <> 'done'"),
        postgresql_where=sa.text("status <> 'done'"),
    )
    op.create_table(
        "payouts",
        sa.Column("payout_key", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("participation_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("streamer_id", sa.Text(), nullable=False),
        sa.Column("brand_id", sa.Text(), nullable=False),
        sa.Column("impressions", sa.BigInteger(), nullable=False),
        sa.Column("target", sa.BigInteger(), nullable=False),
        sa.Column("payment_type", sa.Text(), nullable=False),
        sa.Column("rate", sa.Text(), nullable=False),
        sa.Column("overdelivery", sa.Text(), nullable=False),
        sa.Column("impressions_paid", sa.BigInteger(), nullable=False),
        sa.Column("rounding", sa.Text(), nullable=False),
        sa.Column("gross_minor", sa.BigInteger(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("cooloff_hours", sa.BigInteger(), nullable=False),
        sa.Column("facts_at", TIME, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint(
            "kind <> 'payout' OR (amount_minor >= 0 AND fee_minor >= 0)", name=op.f("ck_payouts_payout_not_negative")
        ),
        sa.CheckConstraint("gross_minor = amount_minor + fee_minor", name=op.f("ck_payouts_net_and_fee_are_gross")),
        sa.ForeignKeyConstraint(["sequence"], ["entries.sequence"], name=op.f("fk_payouts_sequence_entries")),
        sa.PrimaryKeyConstraint("payout_key", name=op.f("pk_payouts")),
        sa.UniqueConstraint(
            "kind", "campaign_id", "streamer_id", "n", name=op.f("uq_payouts_kind_campaign_id_streamer_id_n")
        ),
        sa.UniqueConstraint("sequence", name=op.f("uq_payouts_sequence")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_payouts_batch", "payouts", ["batch"])
    op.create_index("ix_payouts_created_at", "payouts", ["created_at"])
    op.create_index("ix_payouts_participation_id", "payouts", ["participation_id"])
    op.create_index("ix_payouts_streamer_id", "payouts", ["streamer_id"])
    op.create_table(
        "postings",
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("leg", sa.BigInteger(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("balance_after_minor", sa.BigInteger(), nullable=False),
        sa.Column("account_version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account", "currency"],
            ["accounts.account", "accounts.currency"],
            name=op.f("fk_postings_account_currency_accounts"),
        ),
        sa.ForeignKeyConstraint(["sequence"], ["entries.sequence"], name=op.f("fk_postings_sequence_entries")),
        sa.PrimaryKeyConstraint("sequence", "leg", name=op.f("pk_postings")),
        sa.UniqueConstraint(
            "account", "currency", "account_version", name=op.f("uq_postings_account_currency_account_version")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_postings_batch", "postings", ["batch"])
