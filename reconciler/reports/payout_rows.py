"""The columns of a payout, wherever payouts are listed: on a terminal, in files, beside a report."""

from __future__ import annotations

from reconciler.reports.tables import Column, Columns, Kind

PAYOUT_COLUMNS: Columns = (
    Column("created_at", Kind.TIME),
    Column("status"),
    Column("projection"),
    Column("currency", shown=False),
    Column("amount_minor", Kind.AMOUNT),
    Column("fee_minor", Kind.AMOUNT),
    Column("gross_minor", Kind.AMOUNT, shown=False),
    Column("participation_id", Kind.IDENTITY),
    Column("campaign_id", Kind.IDENTITY),
    Column("streamer_id"),
    Column("brand_id", Kind.IDENTITY, shown=False),
    Column("impressions", Kind.COUNT),
    Column("target", Kind.COUNT),
    Column("rule", shown=False),
    Column("trigger"),
    Column("kind", shown=False),
    Column("n", Kind.COUNT, shown=False),
    Column("payout_key", shown=False),
    Column("reverses", shown=False),
    Column("settlement_key", shown=False),
    Column("release_at", Kind.TIME, shown=False),
    Column("released_at", Kind.TIME, shown=False),
    Column("reversed_at", Kind.TIME, shown=False),
    Column("told_at", Kind.TIME, shown=False),
    Column("run_id", shown=False),
    Column("sequence", Kind.COUNT, shown=False),
)
"""Of a row as the ledger lists them, a reversal being a row of its own with negative amounts."""
