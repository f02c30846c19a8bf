"""How a payout looks: its row, its entries, what was decided about it, and how far MongoDB was told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from cli import render
from cli.tables import local_time, one_line, texts_of
from reconciler.clock import utc_text
from reconciler.domain.money import format_minor
from reconciler.domain.posted import PostedPayout
from reconciler.domain.recomputation import FrozenPool
from reconciler.ledger.reads.participation_history import (
    DecisionMade,
    EffectState,
    EntryPosted,
    HoldStep,
    ParticipationHistory,
)
from reconciler.reports.payout_rows import PAYOUT_COLUMNS
from reconciler.reports.tables import Column, Columns, Kind, record

FACT_COLUMNS: Columns = (
    Column("payment_type"),
    Column("rate"),
    Column("overdelivery"),
    Column("impressions_paid", Kind.COUNT),
    Column("rounding"),
    Column("fee_bps", Kind.COUNT),
    Column("facts_at", Kind.TIME),
    Column("decision_key"),
)
"""Of a payout's stored facts those that the list has not."""


def document(line: PostedPayout, history: ParticipationHistory) -> dict[str, Any]:
    """All about one payout for JSON."""
    pool = (history.pools or {}).get(line.settlement_key or "")
    return {
        **record(line, PAYOUT_COLUMNS),
        **record(line, FACT_COLUMNS),
        "entries": [entry_document(one) for one in _entries_of(line, history)],
        "settlement_line": None if pool is None else settlement_document(pool, line.participation_id),
        "decisions": [decision_document(one) for one in _decisions_of(line, history)],
        "effects": [effect_document(one) for one in _effects_of(line, history)],
    }


def show(line: PostedPayout, history: ParticipationHistory, zone: ZoneInfo) -> None:
    """All about one payout for a person."""
    rows = [*zip([one.heading for one in PAYOUT_COLUMNS], texts_of(line, PAYOUT_COLUMNS, zone), strict=True)]
    rows += zip([one.heading for one in FACT_COLUMNS], texts_of(line, FACT_COLUMNS, zone), strict=True)
    render.facts(one_line(line.payout_key), [(name, text) for name, text in rows if text])
    show_entries(_entries_of(line, history), zone)
    pool = (history.pools or {}).get(line.settlement_key or "")
    if pool is not None:
        render.facts("Settlement line", settlement_facts(pool, line.participation_id))
    show_decisions(_decisions_of(line, history), zone)
    show_effects(_effects_of(line, history), zone)


def entry_document(entry: EntryPosted) -> dict[str, Any]:
    """An entry with its postings for JSON."""
    return {
        "sequence": entry.sequence,
        "key": entry.key,
        "kind": entry.kind,
        "reason": entry.reason,
        "corrects": entry.corrects,
        "booked_at": utc_text(entry.booked_at),
        "effective_at": utc_text(entry.effective_at),
        "currency": entry.currency,
        "postings": [
            {
                "account": account,
                "amount_minor": amount_minor,
                "amount": format_minor(amount_minor, entry.currency),
                "balance_after_minor": balance_minor,
            }
            for account, amount_minor, balance_minor in entry.legs
        ],
    }


def decision_document(one: DecisionMade) -> dict[str, Any]:
    """A decision for JSON."""
    return {
        "decision_key": one.decision_key,
        "kind": one.kind,
        "subject": one.subject,
        "by": one.decided_by,
        "reason": one.reason,
        "state_before": dict(one.state_before),
        "amount_minor": one.amount_minor,
        "currency": one.currency,
        "occurred_at": utc_text(one.occurred_at),
    }


def effect_document(one: EffectState) -> dict[str, Any]:
    """How far MongoDB was told, for JSON."""
    return {
        "entry_key": one.entry_key,
        "status": one.status,
        "attempts": one.attempts,
        "effect": one.effect,
        "reason": one.reason,
        "not_before": utc_text(one.not_before),
        "done_at": None if one.done_at is None else utc_text(one.done_at),
    }


def hold_document(one: HoldStep) -> dict[str, Any]:
    """A hold's opening or closing for JSON."""
    return {
        "hold_key": one.hold_key,
        "event": one.event,
        "reason": one.reason,
        "detail": one.detail,
        "amount_minor": one.amount_minor,
        "amount": format_minor(one.amount_minor, one.currency),
        "currency": one.currency,
        "occurred_at": utc_text(one.occurred_at),
    }


def settlement_document(pool: FrozenPool, participation_id: str) -> dict[str, Any]:
    """A member's line in a frozen settlement for JSON."""
    return {
        "settlement_key": pool.settlement_key,
        "rule": pool.rule,
        "members": len(pool.weights),
        "pool_minor": pool.pool_minor,
        "pool": format_minor(pool.pool_minor, pool.currency),
        "impressions": pool.impressions,
        "line_impressions": pool.weights[participation_id],
        "share_minor": pool.shares_minor[participation_id],
        "share": format_minor(pool.shares_minor[participation_id], pool.currency),
        "facts_at": utc_text(pool.facts_at),
    }


def settlement_facts(pool: FrozenPool, participation_id: str) -> list[tuple[str, str]]:
    """A member's line in a frozen settlement for a person."""
    return [
        ("settlement", one_line(pool.settlement_key)),
        ("rule", pool.rule),
        ("pool", f"{format_minor(pool.pool_minor, pool.currency)} {pool.currency}, {len(pool.weights)} members"),
        ("its impressions", f"{pool.weights[participation_id]} of {pool.impressions}"),
        ("its share", f"{format_minor(pool.shares_minor[participation_id], pool.currency)} {pool.currency}"),
    ]


def show_entries(entries: Sequence[EntryPosted], zone: ZoneInfo) -> None:
    """Entries with their postings for a person."""
    for entry in entries:
        title = one_line(f"Entry {entry.sequence}: {entry.kind}, {local_time(entry.booked_at, zone)}, {entry.reason}")
        render.facts(
            title,
            [
                (one_line(account), f"{format_minor(amount_minor, entry.currency)} {entry.currency}")
                for account, amount_minor, _ in entry.legs
            ],
        )


def show_decisions(decisions: Sequence[DecisionMade], zone: ZoneInfo) -> None:
    """Who decided what, for a person."""
    rows = [
        (local_time(one.occurred_at, zone), one_line(f"{one.kind} {one.subject} by {one.decided_by}: {one.reason}"))
        for one in decisions
    ]
    render.facts("Decisions", rows or [("none", "")])


def show_effects(effects: Sequence[EffectState], zone: ZoneInfo) -> None:
    """How far MongoDB was told, for a person."""
    render.facts("Effects in MongoDB", [(one_line(one.entry_key), _effect_text(one, zone)) for one in effects])


def _effect_text(one: EffectState, zone: ZoneInfo) -> str:
    if one.status == "done":
        return "done" if one.done_at is None else f"done at {local_time(one.done_at, zone)}"
    if one.status == "blocked":
        return f"blocked: {one.effect} ({one.reason}); tried again after {local_time(one.not_before, zone)}"
    return f"pending since {local_time(one.not_before, zone)}"


def _keys_of(line: PostedPayout) -> set[str]:
    return {line.payout_key, f"release:{line.payout_key}", f"reversal:{line.payout_key}"}


def _entries_of(line: PostedPayout, history: ParticipationHistory) -> list[EntryPosted]:
    return [one for one in history.entries if one.key in _keys_of(line)]


def _effects_of(line: PostedPayout, history: ParticipationHistory) -> list[EffectState]:
    return [one for one in history.effects if one.entry_key in _keys_of(line)]


def _decisions_of(line: PostedPayout, history: ParticipationHistory) -> list[DecisionMade]:
    subjects = _keys_of(line) | {line.participation_id}
    return [one for one in history.decisions if one.subject in subjects or one.decision_key == line.decision_key]
