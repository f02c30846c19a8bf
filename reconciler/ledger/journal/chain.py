"""The hash chain: each batch's hash covers every column of every row it wrote, and the hash before it.

The canonical form is JSON: an array of [table, rows], a row an array of its columns in the order given here. Each batch
names its ``format``, and the columns of a released format never change: a column that comes later needs a new format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

FORMAT = 1

Columns = tuple[tuple[str, tuple[str, ...]], ...]


def _columns(**tables: str) -> Columns:
    return tuple((table, tuple(columns.split())) for table, columns in tables.items())


COVERED = _columns(
    entries=(
        "sequence batch key kind campaign_id participation_id streamer_id currency reason corrects run_id booked_at "
        "effective_at"
    ),
    postings="sequence leg batch account currency amount_minor balance_after_minor account_version",
    payouts=(
        "payout_key sequence batch kind n participation_id campaign_id streamer_id brand_id impressions target "
        "payment_type rate overdelivery impressions_paid rounding gross_minor fee_minor amount_minor currency rule "
        "trigger run_id cooloff_hours facts_at fingerprint created_at fee_bps release_at settlement_key reverses "
        "decision_key"
    ),
    fundings="campaign_id n sequence batch currency budget_minor amount_minor facts_at",
    hold_events=(
        "hold_key event batch participation_id campaign_id streamer_id reason detail amount_minor currency occurred_at"
    ),
    settlements=(
        "settlement_key batch n campaign_id rule payment_type rate overdelivery target impressions pool_minor "
        "currency trigger run_id facts_at created_at"
    ),
    settlement_lines="settlement_key participation_id batch streamer_id impressions share_minor",
    decisions="decision_key batch kind subject decided_by reason state_before amount_minor currency occurred_at",
    adoptions="participation_id batch campaign_id streamer_id amount_minor currency decision_key occurred_at",
)
"""Tables in order, each with its columns in order. Rows stand in the order of their first two columns' values."""

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def batch_hash(*, previous: str, batch: int, created_at: datetime, rows: Rows) -> str:
    """SHA-256 over the previous hash and the canonical form of one batch, in hex."""
    tables = (
        (table, [[_plain(row[column]) for column in columns] for row in rows.get(table, ())])
        for table, columns in COVERED
    )
    return canonical_hash(previous=previous, head=[FORMAT, batch, _plain(created_at)], tables=tables)


def canonical_hash(*, previous: str, head: list[object], tables: Iterable[tuple[str, list[list[Any]]]]) -> str:
    """The same from rows that are canonical already, but for their order; sorts them in place.

    ``head`` is format, batch and time; the tables come in the order of :data:`COVERED`.
    """
    body = head
    for table, canonical in tables:
        canonical.sort(key=itemgetter(0, 1))
        body.append([table, canonical])
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(previous.encode() + b"\n" + text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        # Read back, every time is in UTC, whatever zone it came in.
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value
