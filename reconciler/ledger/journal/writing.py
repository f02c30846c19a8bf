"""From a plan to rows: sequences, balances, outbox and the next link of the chain."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.domain import accounts
from reconciler.domain.accounts import Entry
from reconciler.domain.plan import (
    BatchPlan,
    NewDecision,
    NewFunding,
    NewPayout,
    NewReversal,
    NewSettlement,
    NewTransfer,
    PostedItem,
)
from reconciler.errors import InvariantBroken
from reconciler.ledger import bulk, schema
from reconciler.ledger.database_clock import NOW, DatabaseTimes, times_columns
from reconciler.ledger.journal.chain import FORMAT, batch_hash
from reconciler.ledger.key_lists import among
from reconciler.ledger.reads.ledger_reads import read_accounts
from reconciler.ledger.round_trip import one_round_trip
from reconciler.ledger.rows import to_row
from reconciler.ports.journal import BatchStamp

Row = dict[str, Any]

HEAD_ID = 1
"""The chain's head is one row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the chain: the last batch and entry sequence given out, and the last hash."""

    batch: int
    sequence: int
    hash: str
    times: DatabaseTimes


def _head_select(dialect_name: str, *, locks: bool) -> sa.Select[Any]:
    """The head and the times. The lock is in the inner select, so that the times are those after the wait for it."""
    row = sa.select(schema.chain_head)
    head = (row.with_for_update() if locks else row).subquery("head")
    last_at = sa.select(schema.chain.c.created_at).where(schema.chain.c.batch == head.c.batch).scalar_subquery()
    return sa.select(head, last_at.label("last_at"), *times_columns(dialect_name))


_READ_HEAD = {name: _head_select(name, locks=False) for name in NOW}
_LOCK_HEAD = {name: _head_select(name, locks=True) for name in NOW}


def read_times(connection: Connection) -> DatabaseTimes:
    """The times of the database, without the lock."""
    return _times(connection.execute(_READ_HEAD[connection.dialect.name]).one())


def _times(row: sa.Row[Any]) -> DatabaseTimes:
    return DatabaseTimes(last_at=row.last_at, asked_at=row.asked_at, now=row.now)


def lock_head(connection: Connection) -> Head:
    """Lock the head: the right to post, until the transaction ends. SQLite has it since BEGIN IMMEDIATE."""
    row = connection.execute(_LOCK_HEAD[connection.dialect.name]).one()
    times = _times(row)
    if times.last_at is None and row.batch:
        # The statement waited for the lock, and sees the chain as it was when it began to.
        last_at = sa.select(schema.chain.c.created_at).where(schema.chain.c.batch == row.batch)
        times = replace(times, last_at=connection.execute(last_at).scalar_one_or_none())
    return Head(batch=row.batch, sequence=row.sequence, hash=row.hash, times=times)


def write_batch(
    connection: Connection, head: Head, plan: BatchPlan, stamp: BatchStamp, now: datetime
) -> Mapping[str, int]:
    """Write a plan; returns entry key → sequence. Raises InvariantBroken where an entry does not sum to zero.

    ``now`` is the ledger's time. What is posted is never dated before the batch before it, whatever the clocks did
    since: a month that was closed stays as it was.
    """
    batch, booked_at = head.batch + 1, max(now, head.times.last_at or now)
    posted = list(enumerate(plan.posted, start=head.sequence + 1))
    postings, balances = _postings(connection, batch, [(sequence, item.entry) for sequence, item in posted])
    journal: dict[str, Sequence[Row]] = {
        "entries": [_entry(sequence, batch, item.entry, stamp, booked_at) for sequence, item in posted],
        "postings": postings,
        "payouts": [_payout(s, batch, item, stamp, booked_at) for s, item in posted if isinstance(item, NewPayout)]
        + _reversals(connection, batch, posted, stamp, booked_at),
        "fundings": [
            to_row(schema.fundings, item, sequence=s, batch=batch) for s, item in posted if isinstance(item, NewFunding)
        ],
        "hold_events": [
            to_row(schema.hold_events, one, batch=batch, occurred_at=booked_at) for one in plan.hold_events
        ],
        "settlements": [_settlement(batch, item, stamp, booked_at) for item in plan.settlements],
        "settlement_lines": [row for item in plan.settlements for row in _settlement_lines(batch, item)],
        "decisions": [_decision(batch, item, booked_at) for item in plan.decisions],
        "adoptions": [to_row(schema.adoptions, one, batch=batch, occurred_at=booked_at) for one in plan.adoptions],
    }
    new_hash = batch_hash(previous=head.hash, batch=batch, created_at=booked_at, rows=journal)
    link = {"batch": batch, "format": FORMAT, "previous_hash": head.hash, "hash": new_hash, "created_at": booked_at}
    end = {"id": HEAD_ID, "batch": batch, "sequence": head.sequence + len(posted), "hash": new_hash}
    with one_round_trip(connection):
        # Accounts come first: postings refer to them.
        bulk.upsert(
            connection,
            schema.accounts,
            balances,
            {"balance_minor": "excluded.balance_minor", "version": "excluded.version"},
        )
        for table in schema.JOURNAL_TABLES[:-1]:
            bulk.insert(connection, table, journal[table.name])
        _queue_effects(connection, posted, now)
        bulk.insert(connection, schema.chain, [link])
        bulk.update(connection, schema.chain_head, [end], ("batch", "sequence", "hash"))
    return {item.entry.key: sequence for sequence, item in posted}


def _postings(connection: Connection, batch: int, entries: Sequence[tuple[int, Entry]]) -> tuple[list[Row], list[Row]]:
    """Rows of postings with the balance after each, and the rows of the accounts they change."""
    names = sorted({posting.account for _, entry in entries for posting in entry.postings})
    state = read_accounts(connection, names) if names else {}
    rows: list[Row] = []
    for sequence, entry in entries:
        if sum(posting.amount_minor for posting in entry.postings) != 0:
            raise InvariantBroken("zero_sum", f"the postings of {entry.key} do not sum to zero")
        for leg, posting in enumerate(entry.postings):
            key = (posting.account, entry.currency)
            balance_minor, version = state.get(key, (0, 0))
            state[key] = (balance_minor + posting.amount_minor, version + 1)
            rows.append(
                {
                    "sequence": sequence,
                    "leg": leg,
                    "batch": batch,
                    "account": posting.account,
                    "currency": entry.currency,
                    "amount_minor": posting.amount_minor,
                    "balance_after_minor": state[key][0],
                    "account_version": state[key][1],
                }
            )
    changed = {(row["account"], row["currency"]) for row in rows}
    balances = [
        {
            "account": account,
            "currency": currency,
            "kind": accounts.kind_of(account),
            "balance_minor": state[account, currency][0],
            "version": state[account, currency][1],
        }
        for account, currency in sorted(changed)
    ]
    return rows, balances


def _queue_effects(connection: Connection, posted: Sequence[tuple[int, PostedItem]], now: datetime) -> None:
    """Raise the versions of the wallet positions that changed, and queue the effects that have to be projected."""
    touched = {
        (owner, item.entry.currency)
        for _, item in posted
        for posting in item.entry.postings
        if (owner := accounts.streamer_of(posting.account)) is not None
    }
    positions = [
        {"streamer_id": streamer_id, "currency": currency, "version": 1, "projected_version": 0}
        for streamer_id, currency in sorted(touched)
    ]
    bulk.upsert(connection, schema.wallet_positions, positions, {"version": "wallet_positions.version + 1"})
    tasks = [
        {
            "sequence": sequence,
            "status": "pending",
            "attempts": 0,
            "effect": None,
            "reason": None,
            "created_at": now,
            "not_before": now,
            "done_at": None,
        }
        for sequence, item in posted
        if isinstance(item, NewPayout | NewReversal) or (isinstance(item, NewTransfer) and item.is_projected)
    ]
    bulk.insert(connection, schema.outbox, tasks)


def _entry(sequence: int, batch: int, entry: Entry, stamp: BatchStamp, now: datetime) -> Row:
    return to_row(
        schema.entries, entry, sequence=sequence, batch=batch, run_id=stamp.run_id, booked_at=now, effective_at=now
    )


def _payout(sequence: int, batch: int, item: NewPayout, stamp: BatchStamp, now: datetime) -> Row:
    request = item.request
    due, terms, participation = request.due, request.due.terms, request.due.participation
    return {
        "payout_key": request.key,
        "sequence": sequence,
        "batch": batch,
        "kind": "payout",
        "n": request.n,
        "participation_id": participation.participation_id.tagged,
        "campaign_id": participation.campaign_id.tagged,
        "streamer_id": participation.streamer_id,
        "brand_id": terms.brand_id.tagged,
        "impressions": due.impressions,
        "target": terms.target_impressions,
        "payment_type": terms.payment_type.value,
        "rate": terms.rate_text,
        "overdelivery": due.overdelivery.value,
        "impressions_paid": due.earned.impressions_paid,
        "rounding": due.earned.rounding,
        "gross_minor": due.earned.gross_minor,
        "fee_minor": due.fee_minor,
        "amount_minor": due.net_minor,
        "currency": terms.currency,
        "rule": due.rule.value,
        "trigger": stamp.trigger,
        "run_id": stamp.run_id,
        "cooloff_hours": terms.cooloff_hours,
        "facts_at": request.facts_at,
        "fingerprint": request.fingerprint,
        "created_at": now,
        "fee_bps": due.fee_bps,
        "release_at": item.release_at,
        "settlement_key": due.settlement_key,
        "reverses": None,
        "decision_key": request.decision_key,
    }


def _reversals(
    connection: Connection, batch: int, posted: Sequence[tuple[int, PostedItem]], stamp: BatchStamp, now: datetime
) -> list[Row]:
    """A row for each reversal: that of its payout, with a key and a kind of its own and negative amounts."""
    new = [(sequence, item) for sequence, item in posted if isinstance(item, NewReversal)]
    if not new:
        return []
    query = sa.select(schema.payouts).where(
        among(connection, schema.payouts.c.payout_key, [item.payout.payout_key for _, item in new])
    )
    originals = {row["payout_key"]: dict(row) for row in connection.execute(query).mappings()}
    rows = []
    for sequence, item in new:
        original = originals[item.payout.payout_key]
        rows.append(
            original
            | {
                "payout_key": item.entry.key,
                "sequence": sequence,
                "batch": batch,
                "kind": "reversal",
                "gross_minor": -original["gross_minor"],
                "fee_minor": -original["fee_minor"],
                "amount_minor": -original["amount_minor"],
                "trigger": stamp.trigger,
                "run_id": stamp.run_id,
                "created_at": now,
                "release_at": None,
                "reverses": original["payout_key"],
                "decision_key": item.decision_key,
            }
        )
    return rows


def _settlement(batch: int, item: NewSettlement, stamp: BatchStamp, now: datetime) -> Row:
    due, terms = item.due, item.due.terms
    return {
        "settlement_key": item.settlement_key,
        "batch": batch,
        "n": item.n,
        "campaign_id": terms.campaign_id.tagged,
        "rule": due.rule.value,
        "payment_type": terms.payment_type.value,
        "rate": terms.rate_text,
        "overdelivery": due.overdelivery.value,
        "target": terms.target_impressions,
        "impressions": due.impressions,
        "pool_minor": due.pool_minor,
        "currency": terms.currency,
        "trigger": stamp.trigger,
        "run_id": stamp.run_id,
        "facts_at": item.facts_at,
        "created_at": now,
    }


def _settlement_lines(batch: int, item: NewSettlement) -> list[Row]:
    return [
        {
            "settlement_key": item.settlement_key,
            "participation_id": line.participation.participation_id.tagged,
            "batch": batch,
            "streamer_id": line.participation.streamer_id,
            "impressions": line.impressions,
            "share_minor": line.share_minor,
        }
        for line in item.due.lines
    ]


def _decision(batch: int, item: NewDecision, now: datetime) -> Row:
    state_before = json.dumps(item.state_before, sort_keys=True, ensure_ascii=False)
    return to_row(schema.decisions, item, batch=batch, state_before=state_before, occurred_at=now)
