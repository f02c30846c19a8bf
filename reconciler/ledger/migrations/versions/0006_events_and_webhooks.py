"""Events, their deliveries to webhooks, and endpoints that are gone.

Why: other systems are told what was paid. An event is written in the transaction that it tells of, or as *expected*
before what it tells happens in MongoDB, so that none is lost; its identity follows from the fact, so that none comes
twice.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("recorded_at", TIME, nullable=False),
        sa.CheckConstraint("status IN ('expected', 'recorded', 'pruned')", name=op.f("ck_events_status")),
        sa.PrimaryKeyConstraint("event_id", name="pk_events"),
        sa.UniqueConstraint("position", name="uq_events_position"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_events_subject", "events", ["subject"])
    _create_partial_index("ix_events_recorded", "events", ["recorded_at"], "status = 'recorded'")
    _create_partial_index("ix_events_expected", "events", ["type"], "status = 'expected'")
    op.create_table(
        "webhook_deliveries",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("status_code", sa.BigInteger(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("not_before", TIME, nullable=False),
        sa.Column("attempted_at", TIME, nullable=True),
        sa.Column("replayed_by", sa.Text(), nullable=True),
        sa.CheckConstraint("status IN ('pending', 'delivered', 'dead')", name=op.f("ck_webhook_deliveries_status")),
        sa.ForeignKeyConstraint(["event_id"], ["events.event_id"], name="fk_webhook_deliveries_event_id_events"),
        sa.PrimaryKeyConstraint("event_id", "endpoint", name="pk_webhook_deliveries"),
        sqlite_with_rowid=False,
    )
    table = "webhook_deliveries"
    op.create_index("ix_webhook_deliveries_position", table, ["position", "endpoint"])
    pending = "status = 'pending'"
    _create_partial_index("ix_webhook_deliveries_due", table, ["endpoint", "not_before"], pending)
    _create_partial_index("ix_webhook_deliveries_in_order", table, ["endpoint", "subject", "position"], pending)
    _create_partial_index("ix_webhook_deliveries_dead", table, ["position"], "status = 'dead'")
    op.create_table(
        "webhook_endpoints",
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("url_hash", sa.Text(), nullable=False),
        sa.Column("disabled_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("endpoint", name="pk_webhook_endpoints"),
        sqlite_with_rowid=False,
    )


def _create_partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))
