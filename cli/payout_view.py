"""How a payout looks: its row, its entries, what was decided about it, and how far its effects are projected."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from cli import render
from cli.tables import local_time, one_line, texts_of
from reconciler.domain.money import format_minor
from reconciler.domain.recomputation import FrozenPool
from reconciler.ledger.reads.participation_history import DecisionMade, EffectState, EntryPosted
from reconciler.queries.payouts import FACT_COLUMNS, PayoutFound
from reconciler.reports.payout_rows import PAYOUT_COLUMNS


def show(found: PayoutFound, zone: ZoneInfo) -> None:
    """All about one payout for a person."""
    rows = [
        (column.heading, text)
        for columns in (PAYOUT_COLUMNS, FACT_COLUMNS)
        for column, text in zip(columns, texts_of(found.line, columns, zone), strict=True)
    ]
    render.facts(one_line(found.line.payout_key), [(name, text) for name, text in rows if text])
    show_entries(found.entries, zone)
    if found.pool is not None:
        render.facts("Settlement line", settlement_facts(found.pool, found.line.participation_id))
    show_decisions(found.decisions, zone)
    show_effects(found.effects, zone)


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
    """How far the effects are projected, for a person."""
    render.facts("Effects in MongoDB", [(one_line(one.entry_key), _effect_text(one, zone)) for one in effects])


def _effect_text(one: EffectState, zone: ZoneInfo) -> str:
    if one.status == "done":
        return "done" if one.done_at is None else f"done at {local_time(one.done_at, zone)}"
    if one.status == "blocked":
        return f"blocked: {one.effect} ({one.reason}); tried again after {local_time(one.not_before, zone)}"
    return f"pending since {local_time(one.not_before, zone)}"
