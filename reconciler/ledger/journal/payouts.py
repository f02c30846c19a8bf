"""Payouts as they stand: paid, released, reversed; and the releases whose time has come."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.clock import CLOCKS_DIFFER_MAX
from reconciler.domain.entries import release_entry
from reconciler.domain.plan import BatchPlan, NewTransfer
from reconciler.domain.posted import PostedPayout
from reconciler.ledger.journal.posting import SqlPoster
from reconciler.ledger.reads.halts import require_not_halted
from reconciler.ledger.schema import entries, outbox, payouts
from reconciler.ports.journal import BatchStamp

_release = entries.alias("release")
_reversal = payouts.alias("reversal")
_IS_RELEASED = sa.exists().where((_release.c.kind == "hold_release") & (_release.c.corrects == payouts.c.payout_key))
_IS_REVERSED = sa.exists().where(_reversal.c.reverses == payouts.c.payout_key)
_POSTED = sa.select(payouts, _IS_RELEASED.label("is_released"), _IS_REVERSED.label("is_reversed")).where(
    payouts.c.kind == "payout"
)


def find_payout(connection: Connection, payout_key: str) -> PostedPayout | None:
    """A payout by its key."""
    row = connection.execute(_POSTED.where(payouts.c.payout_key == payout_key)).one_or_none()
    return None if row is None else _payout(row)


def releasable(connection: Connection, now: datetime, limit: int) -> list[PostedPayout]:
    """Payouts whose hold days are over and that still lie in *held*, oldest first."""
    lies_held = _POSTED.where(~_IS_RELEASED, ~_IS_REVERSED)
    by_time = lies_held.where(payouts.c.release_at <= now).order_by(payouts.c.release_at, payouts.c.sequence)
    due = [_payout(row) for row in connection.execute(by_time.limit(limit))]
    is_misdated = (payouts.c.created_at > now + CLOCKS_DIFFER_MAX) & (payouts.c.release_at > payouts.c.created_at)
    misdated = connection.execute(lies_held.where(is_misdated).order_by(payouts.c.sequence).limit(limit)).all()
    return [*due, *(_payout(row) for row in misdated if _waited_long(connection, row, now))][:limit]


def _waited_long(connection: Connection, row: sa.Row[Any], now: datetime) -> bool:
    """Whether a payout that a wrong clock dated in the future has waited its days since somebody else was paid."""
    later = (outbox.c.sequence > row.sequence) & (outbox.c.created_at <= now)
    at: datetime | None = connection.execute(sa.select(sa.func.min(outbox.c.created_at)).where(later)).scalar_one()
    return at is not None and at + (row.release_at - row.created_at) <= now


def release_due(poster: SqlPoster, stamp: BatchStamp, limit: int) -> int:
    """Move what has waited long enough into wallets; answers how many payouts. Raises Halted while paying is."""
    with poster.locked() as locked:
        require_not_halted(locked.connection)
        due = releasable(locked.connection, locked.now, limit)
        locked.write(BatchPlan(posted=[NewTransfer(entry=release_entry(one), is_projected=True) for one in due]), stamp)
    return len(due)


def _payout(row: sa.Row[Any]) -> PostedPayout:
    return PostedPayout(
        payout_key=row.payout_key,
        n=row.n,
        participation_id=row.participation_id,
        campaign_id=row.campaign_id,
        streamer_id=row.streamer_id,
        brand_id=row.brand_id,
        gross_minor=row.gross_minor,
        fee_minor=row.fee_minor,
        amount_minor=row.amount_minor,
        currency=row.currency,
        created_at=row.created_at,
        release_at=row.release_at,
        is_released=bool(row.is_released),
        is_reversed=bool(row.is_reversed),
    )
