"""The hash chain: each batch's hash covers every column of every row it wrote, and the hash before it.

The canonical form is JSON: an array of [table, rows], a row an array of its columns in the order given here. It is
fixed by a ``format`` number for ever: a column that comes later gets a new format, and old batches verify by theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

FORMAT = 1

COVERED: Mapping[int, tuple[tuple[str, tuple[str, ...]], ...]] = {
    1: (
        (
            "entries",
            (
                "sequence",
                "batch",
                "key",
                "kind",
                "campaign_id",
                "participation_id",
                "streamer_id",
                "currency",
                "reason",
                "corrects",
                "run_id",
                "booked_at",
                "effective_at",
            ),
        ),
        (
            "postings",
            (
                "sequence",
                "leg",
                "batch",
                "account",
                "currency",
                "amount_minor",
                "balance_after_minor",
                "account_version",
            ),
        ),
        (
            "payouts",
            (
                "payout_key",
                "sequence",
                "batch",
                "kind",
                "n",
                "participation_id",
                "campaign_id",
                "streamer_id",
                "brand_id",
                "impressions",
                "target",
                "payment_type",
                "rate",
                "overdelivery",
                "impressions_paid",
                "rounding",
                "gross_minor",
                "fee_minor",
                "amount_minor",
                "currency",
                "rule",
                "trigger",
                "run_id",
                "cooloff_hours",
                "facts_at",
                "fingerprint",
                "created_at",
            ),
        ),
        (
            "fundings",
            ("campaign_id", "n", "sequence", "batch", "currency", "budget_minor", "amount_minor", "facts_at"),
        ),
        (
            "hold_events",
            (
                "hold_key",
                "event",
                "batch",
                "participation_id",
                "campaign_id",
                "streamer_id",
                "reason",
                "detail",
                "amount_minor",
                "currency",
                "occurred_at",
            ),
        ),
    ),
}
"""Format → tables in order → columns in order. Rows stand in the order of their first columns' values."""

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def batch_hash(*, previous: str, batch: int, created_at: datetime, rows: Rows, form: int = FORMAT) -> str:
    """SHA-256 over the previous hash and the canonical form of one batch, in hex."""
    body: list[object] = [form, batch, _plain(created_at)]
    for table, columns in COVERED[form]:
        canonical = [[_plain(row[column]) for column in columns] for row in rows.get(table, ())]
        canonical.sort(key=lambda row: row[:2])
        body.append([table, canonical])
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(previous.encode() + b"\n" + text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        # Read back, every time is in UTC, whatever zone it came in.
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value
