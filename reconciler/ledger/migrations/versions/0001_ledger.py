"""The ledger as the first release has it.

Journal tables refuse UPDATE, DELETE and (PostgreSQL) TRUNCATE or (SQLite) INSERT OR REPLACE from the first row on. The
identity drawn here tells this ledger from another one.

A migration never changes once it was released, so it says its tables itself and imports none of the schema.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from reconciler.ledger.append_only import protect

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TYPES: Mapping[str, sa.types.TypeEngine[Any]] = {
    "": sa.Text(),
    "int": sa.BigInteger(),
    "time": sa.DateTime(timezone=True),
}
APPEND_ONLY = (
    "entries",
    "postings",
    "payouts",
    "fundings",
    "hold_events",
    "settlements",
    "settlement_lines",
    "decisions",
    "adoptions",
    "chain",
    "ledger_identity",
)


def upgrade() -> None:
    _create_tables()
    _create_indexes()
    _create_ledger()


def _create_ledger() -> None:
    """The ledger's identity, and the beginning of its chain, which depends on it."""
    ledger_id = str(uuid.uuid4())
    created_at = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    identity = sa.table(
        "ledger_identity", sa.column("id"), sa.column("ledger_id"), sa.column("created_at", TYPES["time"])
    )
    op.execute(identity.insert().values(id=1, ledger_id=ledger_id, created_at=created_at))
    head = sa.table("chain_head", sa.column("id"), sa.column("batch"), sa.column("sequence"), sa.column("hash"))
    genesis = hashlib.sha256(ledger_id.encode()).hexdigest()
    op.execute(head.insert().values(id=1, batch=0, sequence=0, hash=genesis))


def _table(
    name: str,
    columns: str,
    *,
    key: str,
    unique: Sequence[str] = (),
    refers: Mapping[str, str] | None = None,
    checks: Mapping[str, str] | None = None,
    indexes: Sequence[str] = (),
) -> None:
    """Create a table. A column is text unless it says ``:int`` or ``:time``; one that ends in ``?`` may be NULL.

    Several columns stand in one text, with spaces between them. ``refers``: columns → the columns that they refer to.
    """
    constraints: list[sa.Constraint] = [sa.PrimaryKeyConstraint(*key.split(), name=f"pk_{name}")]
    constraints += [sa.UniqueConstraint(*one.split(), name=_named("uq", name, one)) for one in unique]
    for own, target in (refers or {}).items():
        referred = target.partition(".")[0]
        constraints.append(
            sa.ForeignKeyConstraint(own.split(), target.split(), name=f"{_named('fk', name, own)}_{referred}")
        )
    constraints += [sa.CheckConstraint(sql, name=op.f(f"ck_{name}_{rule}")) for rule, sql in (checks or {}).items()]
    op.create_table(name, *map(_column, columns.split()), *constraints, sqlite_with_rowid=False)
    for one in indexes:
        op.create_index(_named("ix", name, one), name, one.split())
    if name in APPEND_ONLY:
        for statement in protect(op.get_bind().dialect.name, name, [one.split() for one in (key, *unique)]):
            op.execute(statement)


def _column(words: str) -> sa.Column[Any]:
    name, _, type_name = words.removesuffix("?").partition(":")
    return sa.Column(name, TYPES[type_name], nullable=words.endswith("?"), autoincrement=False)


def _named(prefix: str, table: str, columns: str) -> str:
    return f"{prefix}_{table}_{columns.replace(' ', '_')}"


def _index(name: str, table: str, columns: str, where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, columns.split(), sqlite_where=condition, postgresql_where=condition)


def _create_tables() -> None:
    _table("ledger_identity", "id:int ledger_id created_at:time", key="id", checks={"single": "id = 1"})
    _table("chain_head", "id:int batch:int sequence:int hash", key="id", checks={"single": "id = 1"})
    _table("chain", "batch:int format:int previous_hash hash created_at:time", key="batch")
    _table(
        "accounts",
        "account currency kind balance_minor:int version:int",
        key="account currency",
        checks={"escrow_not_negative": "kind <> 'escrow' OR balance_minor >= 0"},
    )
    _table(
        "entries",
        (
            "sequence:int batch:int key kind campaign_id? participation_id? streamer_id? currency reason corrects? "
            "run_id booked_at:time effective_at:time"
        ),
        key="sequence",
        unique=("key",),
        indexes=("batch", "campaign_id", "corrects"),
    )
    _table(
        "postings",
        "sequence:int leg:int batch:int account currency amount_minor:int balance_after_minor:int account_version:int",
        key="sequence leg",
        unique=("account currency account_version",),
        refers={"account currency": "accounts.account accounts.currency", "sequence": "entries.sequence"},
        indexes=("batch",),
    )
    _table(
        "payouts",
        (
            "payout_key sequence:int batch:int kind n:int participation_id campaign_id streamer_id brand_id "
            "impressions:int target:int payment_type rate overdelivery impressions_paid:int rounding gross_minor:int "
            "fee_minor:int amount_minor:int currency rule trigger run_id cooloff_hours:int facts_at:time fingerprint "
            "created_at:time fee_bps:int release_at:time? settlement_key? reverses? decision_key?"
        ),
        key="payout_key",
        unique=("kind campaign_id streamer_id n", "sequence"),
        refers={"sequence": "entries.sequence"},
        checks={
            "net_and_fee_are_gross": "gross_minor = amount_minor + fee_minor",
            "payout_not_negative": "kind <> 'payout' OR (amount_minor >= 0 AND fee_minor >= 0)",
        },
        indexes=("batch", "created_at", "participation_id", "release_at", "reverses", "streamer_id"),
    )
    _table(
        "fundings",
        "campaign_id n:int sequence:int batch:int currency budget_minor:int amount_minor:int facts_at:time",
        key="campaign_id n",
        unique=("sequence",),
        refers={"sequence": "entries.sequence"},
        indexes=("batch",),
    )
    _table(
        "hold_events",
        (
            "hold_key event batch:int participation_id campaign_id streamer_id reason detail amount_minor:int currency "
            "occurred_at:time"
        ),
        key="hold_key event",
        checks={"event": "event IN ('opened', 'closed')"},
        indexes=("batch", "campaign_id", "participation_id"),
    )
    _table(
        "settlements",
        (
            "settlement_key batch:int n:int campaign_id rule payment_type rate overdelivery target:int impressions:int "
            "pool_minor:int currency trigger run_id facts_at:time created_at:time"
        ),
        key="settlement_key",
        unique=("campaign_id n",),
        indexes=("batch",),
    )
    _table(
        "settlement_lines",
        "settlement_key participation_id batch:int streamer_id impressions:int share_minor:int",
        key="settlement_key participation_id",
        unique=("participation_id",),
        refers={"settlement_key": "settlements.settlement_key"},
        indexes=("batch",),
    )
    _table(
        "decisions",
        (
            "decision_key batch:int kind subject decided_by reason state_before amount_minor:int? currency? "
            "occurred_at:time"
        ),
        key="decision_key",
        indexes=("batch", "kind occurred_at", "subject"),
    )
    _table(
        "adoptions",
        "participation_id batch:int campaign_id streamer_id amount_minor:int? currency decision_key occurred_at:time",
        key="participation_id",
        indexes=("batch", "campaign_id"),
    )
    _table("closures", "campaign_id seen_at:time", key="campaign_id")
    _table("leases", "name holder epoch:int expires_at:time", key="name")
    _table(
        "stream_positions",
        "name generation:int token? fingerprint? reached_at:time? changed_at:time dropped_because?",
        key="name",
    )
    _table(
        "wallet_positions",
        "streamer_id currency version:int projected_version:int",
        key="streamer_id currency",
        checks={"projected_not_ahead": "projected_version <= version"},
    )
    _table(
        "outbox",
        "sequence:int status attempts:int effect? reason? created_at:time not_before:time done_at:time?",
        key="sequence",
        refers={"sequence": "entries.sequence"},
        checks={"status": "status IN ('pending', 'blocked', 'done')"},
    )
    _table(
        "runs",
        "run_id kind trigger started_at:time finished_at:time? outcome? counts? error? alive_at:time",
        key="run_id",
        indexes=("kind started_at",),
    )
    _table(
        "breaks",
        (
            "break_id kind reason severity participation_id campaign_id streamer_id payout_key currency "
            "expected_minor:int? actual_minor:int? detail found_count:int fingerprint known_since:time first_seen:time "
            "last_seen:time last_report last_whole_report? appearances_count:int cleared_at:time? cleared_by?"
        ),
        key="break_id",
        checks={"cleared_by_someone": "(cleared_at IS NULL) = (cleared_by IS NULL)"},
        indexes=("campaign_id", "cleared_by"),
    )
    _table(
        "events",
        "event_id position:int type subject status payload? occurred_at:time recorded_at:time",
        key="event_id",
        unique=("position",),
        checks={"status": "status IN ('expected', 'recorded', 'pruned')"},
        indexes=("subject",),
    )
    _table(
        "webhook_deliveries",
        (
            "event_id endpoint position:int subject status attempts:int outcome? status_code:int? created_at:time "
            "not_before:time attempted_at:time? replayed_by?"
        ),
        key="event_id endpoint",
        refers={"event_id": "events.event_id"},
        checks={"status": "status IN ('pending', 'delivered', 'dead')"},
    )
    _table("webhook_endpoints", "endpoint url_hash disabled_at:time", key="endpoint")
    _table(
        "check_requests",
        (
            "report_id open_slot:int? requested_by requested_at:time started_at:time? finished_at:time? attempts:int "
            "done_count:int expected_count:int outcome? error?"
        ),
        key="report_id",
        unique=("open_slot",),
        checks={
            "one_slot": "open_slot = 1",
            "open_until_finished": "(open_slot IS NULL) = (finished_at IS NOT NULL)",
        },
        indexes=("requested_at",),
    )
    _table("check_partitions", "work_key number:int up_to tally breaks kept_at:time", key="work_key number")
    _table("check_waiting", "participation_id read_at:time", key="participation_id")
    _table(
        "chain_marks",
        "id:int batch:int sequence:int hash entries:int payouts:int whole_at:time table_sums",
        key="id",
        checks={"single": "id = 1"},
    )
    _table("compatibility", "oldest_program", key="oldest_program")


def _create_indexes() -> None:
    """Indexes over some of the rows, and one of a name of its own."""
    _index("ix_outbox_open", "outbox", "not_before sequence", "status <> 'done'")
    _index("ix_runs_unfinished", "runs", "started_at", "finished_at IS NULL")
    _index("ix_events_expected", "events", "type", "status = 'expected'")
    _index("ix_events_recorded", "events", "recorded_at", "status = 'recorded'")
    _index("ix_webhook_deliveries_dead", "webhook_deliveries", "position", "status = 'dead'")
    _index("ix_webhook_deliveries_due", "webhook_deliveries", "endpoint not_before", "status = 'pending'")
    _index("ix_webhook_deliveries_in_order", "webhook_deliveries", "endpoint subject position", "status = 'pending'")
    _index("ix_webhook_deliveries_position", "webhook_deliveries", "position endpoint")
