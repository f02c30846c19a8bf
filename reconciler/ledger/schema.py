"""The tables, as SQLAlchemy Core objects. Migrations create them; a test holds both to be the same.

*Journal* tables are append-only (triggers refuse everything else) and covered by the hash chain. The others hold
what can be derived or does not concern money: balances, the head of the chain, the outbox, runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import StatementError
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time of whole milliseconds, on databases with and without time zones.

    Milliseconds, because MongoDB's dates have no more, and a payout's time must be the same on both sides.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times, whose meaning nobody could know later, and those finer than a millisecond."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone reached the ledger")
        if value.microsecond % 1000:
            raise ValueError("a time finer than a millisecond reached the ledger")
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware UTC, whatever the session's zone."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_TIME = UtcDateTime()


def times_to_driver(values: Sequence[datetime | None], dialect: Dialect, what: str) -> list[Any]:
    """Times as the driver stores them. Raises StatementError for those that would be read back as others."""
    # Of the dialect's own form of the type: SQLite keeps times as text, in one form, which must sort as time does.
    processed = _TIME.dialect_impl(dialect).bind_processor(dialect)
    try:
        return list(values) if processed is None else [processed(value) for value in values]
    except ValueError as error:
        raise StatementError(str(error), what, None, error) from error


metadata = sa.MetaData(naming_convention=NAMING)


def _table(name: str, *items: sa.schema.SchemaItem, **options: Any) -> sa.Table:
    # WITHOUT ROWID: a hidden rowid would be a second key, through which INSERT OR REPLACE could overwrite a row.
    return sa.Table(name, metadata, *items, sqlite_with_rowid=False, **options)


def _text(name: str, *, nullable: bool = False, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable, primary_key=primary_key)


def _whole(name: str, *, nullable: bool = False, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable, primary_key=primary_key, autoincrement=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, UtcDateTime, nullable=nullable)


def _partial_index(name: str, *columns: str, where: str) -> sa.Index:
    return sa.Index(name, *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


ledger_identity = _table(
    "ledger_identity",
    _whole("id", primary_key=True),
    _text("ledger_id"),
    _time("created_at"),
    sa.CheckConstraint("id = 1", name="single"),
)

chain_head = _table(
    "chain_head",
    _whole("id", primary_key=True),
    _whole("batch"),
    _whole("sequence"),
    _text("hash"),
    sa.CheckConstraint("id = 1", name="single"),
)
"""One row; its lock is the right to post. ``batch`` and ``sequence`` are the last ones given out."""

chain = _table(
    "chain",
    _whole("batch", primary_key=True),
    _whole("format"),
    _text("previous_hash"),
    _text("hash"),
    _time("created_at"),
)

accounts = _table(
    "accounts",
    _text("account", primary_key=True),
    _text("currency", primary_key=True),
    _text("kind"),
    _whole("balance_minor"),
    _whole("version"),
    sa.CheckConstraint("kind <> 'escrow' OR balance_minor >= 0", name="escrow_not_negative"),
)
"""Balances derived from postings; ``version`` counts the postings on the account."""

entries = _table(
    "entries",
    _whole("sequence", primary_key=True),
    _whole("batch"),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    _text("kind"),
    _text("campaign_id", nullable=True),
    _text("participation_id", nullable=True),
    _text("streamer_id", nullable=True),
    _text("currency"),
    _text("reason"),
    _text("corrects", nullable=True),
    _text("run_id"),
    _time("booked_at"),
    _time("effective_at"),
    sa.Index("ix_entries_batch", "batch"),
    sa.Index("ix_entries_campaign_id", "campaign_id"),
    sa.Index("ix_entries_corrects", "corrects"),
)

postings = _table(
    "postings",
    _whole("sequence", primary_key=True),
    _whole("leg", primary_key=True),
    _whole("batch"),
    _text("account"),
    _text("currency"),
    _whole("amount_minor"),
    _whole("balance_after_minor"),
    _whole("account_version"),
    sa.ForeignKeyConstraint(["sequence"], ["entries.sequence"]),
    sa.ForeignKeyConstraint(["account", "currency"], ["accounts.account", "accounts.currency"]),
    sa.UniqueConstraint("account", "currency", "account_version"),
    sa.Index("ix_postings_batch", "batch"),
)

payouts = _table(
    "payouts",
    _text("payout_key", primary_key=True),
    _whole("sequence"),
    _whole("batch"),
    _text("kind"),
    _whole("n"),
    _text("participation_id"),
    _text("campaign_id"),
    _text("streamer_id"),
    _text("brand_id"),
    _whole("impressions"),
    _whole("target"),
    _text("payment_type"),
    _text("rate"),
    _text("overdelivery"),
    _whole("impressions_paid"),
    _text("rounding"),
    _whole("gross_minor"),
    _whole("fee_minor"),
    _whole("amount_minor"),
    _text("currency"),
    _text("rule"),
    _text("trigger"),
    _text("run_id"),
    _whole("cooloff_hours"),
    _time("facts_at"),
    _text("fingerprint"),
    _time("created_at"),
    _whole("fee_bps"),
    _time("release_at", nullable=True),
    _text("settlement_key", nullable=True),
    _text("reverses", nullable=True),
    _text("decision_key", nullable=True),
    sa.ForeignKeyConstraint(["sequence"], ["entries.sequence"]),
    sa.UniqueConstraint("sequence"),
    sa.UniqueConstraint("kind", "campaign_id", "streamer_id", "n"),
    sa.CheckConstraint("gross_minor = amount_minor + fee_minor", name="net_and_fee_are_gross"),
    sa.CheckConstraint("kind <> 'payout' OR (amount_minor >= 0 AND fee_minor >= 0)", name="payout_not_negative"),
    sa.Index("ix_payouts_participation_id", "participation_id"),
    sa.Index("ix_payouts_batch", "batch"),
    sa.Index("ix_payouts_created_at", "created_at"),
    sa.Index("ix_payouts_streamer_id", "streamer_id"),
    sa.Index("ix_payouts_reverses", "reverses"),
    sa.Index("ix_payouts_release_at", "release_at"),
)
"""The ledger table that people and BI tools read: one row a key; ``amount_minor`` is what the streamer receives.

``release_at``: until then the amount lies in the streamer's *held* account. ``settlement_key``: the frozen settlement
whose line this pays. ``reverses``: the payout that a row of kind ``reversal`` takes back, amounts negative.
"""

fundings = _table(
    "fundings",
    _text("campaign_id", primary_key=True),
    _whole("n", primary_key=True),
    _whole("sequence"),
    _whole("batch"),
    _text("currency"),
    _whole("budget_minor"),
    _whole("amount_minor"),
    _time("facts_at"),
    sa.ForeignKeyConstraint(["sequence"], ["entries.sequence"]),
    sa.UniqueConstraint("sequence"),
    sa.Index("ix_fundings_batch", "batch"),
)
"""Each budget seen, and what it moved into escrow (negative: back to the brand)."""

hold_events = _table(
    "hold_events",
    _text("hold_key", primary_key=True),
    _text("event", primary_key=True),
    _whole("batch"),
    _text("participation_id"),
    _text("campaign_id"),
    _text("streamer_id"),
    _text("reason"),
    _text("detail"),
    _whole("amount_minor"),
    _text("currency"),
    _time("occurred_at"),
    sa.CheckConstraint("event IN ('opened', 'closed')", name="event"),
    sa.Index("ix_hold_events_campaign_id", "campaign_id"),
    sa.Index("ix_hold_events_participation_id", "participation_id"),
    sa.Index("ix_hold_events_batch", "batch"),
)
"""A hold is open while its ``opened`` row has no ``closed`` row beside it."""

settlements = _table(
    "settlements",
    _text("settlement_key", primary_key=True),
    _whole("batch"),
    _whole("n"),
    _text("campaign_id"),
    _text("rule"),
    _text("payment_type"),
    _text("rate"),
    _text("overdelivery"),
    _whole("target"),
    _whole("impressions"),
    _whole("pool_minor"),
    _text("currency"),
    _text("trigger"),
    _text("run_id"),
    _time("facts_at"),
    _time("created_at"),
    sa.UniqueConstraint("campaign_id", "n"),
    sa.Index("ix_settlements_batch", "batch"),
)
"""A pool frozen from one snapshot: what its members share. ``impressions``: their sum."""

settlement_lines = _table(
    "settlement_lines",
    _text("settlement_key", primary_key=True),
    _text("participation_id", primary_key=True),
    _whole("batch"),
    _text("streamer_id"),
    _whole("impressions"),
    _whole("share_minor"),
    sa.ForeignKeyConstraint(["settlement_key"], ["settlements.settlement_key"]),
    sa.UniqueConstraint("participation_id"),
    sa.Index("ix_settlement_lines_batch", "batch"),
)
"""One member's share; the shares of a settlement sum to its pool."""

decisions = _table(
    "decisions",
    _text("decision_key", primary_key=True),
    _whole("batch"),
    _text("kind"),
    _text("subject"),
    _text("decided_by"),
    _text("reason"),
    _text("state_before"),
    _whole("amount_minor", nullable=True),
    _text("currency", nullable=True),
    _time("occurred_at"),
    sa.Index("ix_decisions_subject", "subject"),
    sa.Index("ix_decisions_kind_occurred_at", "kind", "occurred_at"),
    sa.Index("ix_decisions_batch", "batch"),
)
"""Who decided what about which subject, when and why; ``state_before`` is a JSON object. Halts are here too."""

adoptions = _table(
    "adoptions",
    _text("participation_id", primary_key=True),
    _whole("batch"),
    _text("campaign_id"),
    _text("streamer_id"),
    _whole("amount_minor", nullable=True),
    _text("currency"),
    _text("decision_key"),
    _time("occurred_at"),
    sa.Index("ix_adoptions_campaign_id", "campaign_id"),
    sa.Index("ix_adoptions_batch", "batch"),
)
"""Participations settled before this ledger began: no postings, counted in a campaign's opening funding."""

closures = _table(
    "closures",
    _text("campaign_id", primary_key=True),
    _time("seen_at"),
)
"""When a campaign was first seen completed or cancelled: the grace before its refund counts from there."""

leases = _table(
    "leases",
    _text("name", primary_key=True),
    _text("holder"),
    _whole("epoch"),
    _time("expires_at"),
)
"""Which daemon works. The epoch only grows; a payout transaction of a daemon checks it."""

stream_positions = _table(
    "stream_positions",
    _text("name", primary_key=True),
    _whole("generation"),
    _text("token", nullable=True),
    _text("fingerprint", nullable=True),
    _time("reached_at", nullable=True),
    _time("changed_at"),
    _text("dropped_because", nullable=True),
)
"""Where the watch stands in the stream of changes. The generation grows whenever the position is dropped."""

wallet_positions = _table(
    "wallet_positions",
    _text("streamer_id", primary_key=True),
    _text("currency", primary_key=True),
    _whole("version"),
    _whole("projected_version"),
    sa.CheckConstraint("projected_version <= version", name="projected_not_ahead"),
)
"""One counter a streamer and currency, raised with every change of their accounts; what MongoDB acknowledged."""

outbox = _table(
    "outbox",
    _whole("sequence", primary_key=True),
    _text("status"),
    _whole("attempts"),
    _text("effect", nullable=True),
    _text("reason", nullable=True),
    _time("created_at"),
    _time("not_before"),
    _time("done_at", nullable=True),
    sa.ForeignKeyConstraint(["sequence"], ["entries.sequence"]),
    sa.CheckConstraint("status IN ('pending', 'blocked', 'done')", name="status"),
    _partial_index("ix_outbox_open", "not_before", "sequence", where="status <> 'done'"),
)
"""Entries whose effects are still to be projected into MongoDB, or were projected."""

runs = _table(
    "runs",
    _text("run_id", primary_key=True),
    _text("kind"),
    _text("trigger"),
    _time("started_at"),
    _time("finished_at", nullable=True),
    _text("outcome", nullable=True),
    _text("counts", nullable=True),
    _text("error", nullable=True),
    _time("alive_at"),
    sa.Index("ix_runs_kind_started_at", "kind", "started_at"),
    _partial_index("ix_runs_unfinished", "started_at", where="finished_at IS NULL"),
)
"""Every sweep and check, also failed and interrupted ones. ``counts`` is a JSON object. ``alive_at`` is written by the
database's clock every few seconds while the run goes on: an unfinished one that fell silent was interrupted."""

breaks = _table(
    "breaks",
    _text("break_id", primary_key=True),
    _text("kind"),
    _text("reason"),
    _text("severity"),
    _text("participation_id"),
    _text("campaign_id"),
    _text("streamer_id"),
    _text("payout_key"),
    _text("currency"),
    _whole("expected_minor", nullable=True),
    _whole("actual_minor", nullable=True),
    _text("detail"),
    _whole("found_count"),
    _text("fingerprint"),
    _time("known_since"),
    _time("first_seen"),
    _time("last_seen"),
    _text("last_report"),
    _text("last_whole_report", nullable=True),
    _whole("appearances_count"),
    _time("cleared_at", nullable=True),
    _text("cleared_by", nullable=True),
    sa.CheckConstraint("(cleared_at IS NULL) = (cleared_by IS NULL)", name="cleared_by_someone"),
    sa.Index("ix_breaks_cleared_by", "cleared_by"),
    sa.Index("ix_breaks_campaign_id", "campaign_id"),
)
"""What checks remember of each break, by its identity. Who acknowledged or resolved it stands in ``decisions``."""

events = _table(
    "events",
    _text("event_id", primary_key=True),
    _whole("position"),
    _text("type"),
    _text("subject"),
    _text("status"),
    _text("payload", nullable=True),
    _time("occurred_at"),
    _time("recorded_at"),
    sa.UniqueConstraint("position"),
    sa.CheckConstraint("status IN ('expected', 'recorded', 'pruned')", name="status"),
    sa.Index("ix_events_subject", "subject"),
    _partial_index("ix_events_recorded", "recorded_at", where="status = 'recorded'"),
    _partial_index("ix_events_expected", "type", where="status = 'expected'"),
)
"""Events for other systems. *expected*: about to happen in MongoDB, and not delivered before it is known to have.
*pruned*: delivered long ago; the row stays without its payload, so that the same fact never makes a second event."""

webhook_deliveries = _table(
    "webhook_deliveries",
    _text("event_id", primary_key=True),
    _text("endpoint", primary_key=True),
    _whole("position"),
    _text("subject"),
    _text("status"),
    _whole("attempts"),
    _text("outcome", nullable=True),
    _whole("status_code", nullable=True),
    _time("created_at"),
    _time("not_before"),
    _time("attempted_at", nullable=True),
    _text("replayed_by", nullable=True),
    sa.ForeignKeyConstraint(["event_id"], ["events.event_id"]),
    sa.CheckConstraint("status IN ('pending', 'delivered', 'dead')", name="status"),
    sa.Index("ix_webhook_deliveries_position", "position", "endpoint"),
    _partial_index("ix_webhook_deliveries_due", "endpoint", "not_before", where="status = 'pending'"),
    _partial_index("ix_webhook_deliveries_in_order", "endpoint", "subject", "position", where="status = 'pending'"),
    _partial_index("ix_webhook_deliveries_dead", "position", where="status = 'dead'"),
)
"""One event on its way to one endpoint. Subject and position are the event's: they keep the order."""

webhook_endpoints = _table(
    "webhook_endpoints",
    _text("endpoint", primary_key=True),
    _text("url_hash"),
    _time("disabled_at"),
)
"""Endpoints that answered 410 Gone, and under which URL (as SHA-256): nothing is sent there until a person, or
another URL, says so."""

check_requests = _table(
    "check_requests",
    _text("report_id", primary_key=True),
    _whole("open_slot", nullable=True),
    _text("requested_by"),
    _time("requested_at"),
    _time("started_at", nullable=True),
    _time("finished_at", nullable=True),
    _whole("attempts"),
    _whole("done_count"),
    _whole("expected_count"),
    _text("outcome", nullable=True),
    _text("error", nullable=True),
    sa.UniqueConstraint("open_slot"),
    sa.CheckConstraint("open_slot = 1", name="one_slot"),
    sa.CheckConstraint("(open_slot IS NULL) = (finished_at IS NOT NULL)", name="open_until_finished"),
    sa.Index("ix_check_requests_requested_at", "requested_at"),
)
"""Full checks that somebody or the calendar asked for: one at a time has the open slot, and the leader takes it."""

check_partitions = _table(
    "check_partitions",
    _text("work_key", primary_key=True),
    _whole("number", primary_key=True),
    _text("up_to"),
    _text("tally"),
    _text("breaks"),
    _time("kept_at"),
)
"""Partitions that the running full check has compared, so that the next one can go on from there after a crash."""

check_waiting = _table(
    "check_waiting",
    _text("participation_id", primary_key=True),
    _time("read_at"),
)
"""Who was due and unpaid at the last full check, and when that was read first."""

chain_marks = _table(
    "chain_marks",
    _whole("id", primary_key=True),
    _whole("batch"),
    _whole("sequence"),
    _text("hash"),
    _whole("entries"),
    _whole("payouts"),
    _time("whole_at"),
    _text("table_sums"),
    sa.CheckConstraint("id = 1", name="single"),
)
"""How far full checks verified the chain, when one last walked it from its beginning, and what all rows added up to."""

compatibility = _table(
    "compatibility",
    _text("oldest_program", primary_key=True),
)
"""Revisions that a program must know to work with the ledger: each changed what older ones rely on."""

JOURNAL_TABLES: tuple[sa.Table, ...] = (
    entries,
    postings,
    payouts,
    fundings,
    hold_events,
    settlements,
    settlement_lines,
    decisions,
    adoptions,
    chain,
)
"""Append-only, in the order in which the hash chain covers them (``chain`` itself holds the hashes)."""
