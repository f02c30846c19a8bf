"""Breaks that checks found, with what people said about them."""

from __future__ import annotations

from datetime import datetime

from reconciler.domain.breaks import CATALOGUE
from reconciler.ledger.engine import Engine
from reconciler.ledger.operations.break_records import BreakFilter, BreakLine, SqlBreakRecords
from reconciler.queries import Document
from reconciler.reports.tables import Column, Columns, Kind, record

BREAK_COLUMNS: Columns = (
    Column("break_id"),
    Column("status"),
    Column("severity"),
    Column("kind"),
    Column("reason"),
    Column("participation_id"),
    Column("campaign_id"),
    Column("streamer_id", shown=False),
    Column("payout_key", shown=False),
    Column("currency", shown=False),
    Column("expected_minor", Kind.AMOUNT),
    Column("actual_minor", Kind.AMOUNT),
    Column("first_seen", Kind.TIME),
    Column("age_s", Kind.COUNT),
    Column("known_since", Kind.TIME, shown=False),
    Column("appearances_count", Kind.COUNT, shown=False),
    Column("last_seen", Kind.TIME, shown=False),
    Column("last_report", shown=False),
    Column("cleared_at", Kind.TIME, shown=False),
    Column("cleared_by", shown=False),
    Column("decision", shown=False),
    Column("decided_by"),
    Column("decided_reason", shown=False),
    Column("decided_at", Kind.TIME, shown=False),
    Column("detail"),
    Column("note"),
    Column("action", shown=False),
)
"""The columns of a break, for the command line and the API."""


def break_documents(engine: Engine, chosen: BreakFilter, now: datetime, limit: int) -> list[Document]:
    """The first ``limit`` breaks that a filter admits, for JSON: the worst first, and of these the oldest."""
    return [record(break_row(line, now), BREAK_COLUMNS) for line in SqlBreakRecords(engine).lines(chosen)[:limit]]


def break_row(line: BreakLine, now: datetime) -> Document:
    """One break by the names of BREAK_COLUMNS; ``age_s`` counts until ``now``, or until the break was cleared."""
    kept, decision = line.record, line.decision
    ended = kept.cleared_at or now
    return {
        **{column.name: getattr(kept, column.name) for column in BREAK_COLUMNS if hasattr(kept, column.name)},
        "status": line.status.value,
        "age_s": round((ended - kept.first_seen).total_seconds()),
        "decision": decision.kind if decision else None,
        "decided_by": decision.by if decision else None,
        "decided_reason": decision.reason if decision else None,
        "decided_at": decision.at if decision else None,
        "note": line.note,
        "action": _ACTIONS.get(kept.kind, ""),
    }


_ACTIONS = {kind.value: entry.action for kind, entry in CATALOGUE.items()}
